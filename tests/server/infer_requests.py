"""Requests for the actions of the hand-made bundle, for the tests of a running server."""

import struct

MODEL = "/v2/models/policy"
EVERYWHERE = "0.0.0.0"  # noqa: S104
TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105


def tensor(data, batch=1):
    return {"name": "observation", "shape": [batch, 3], "datatype": "FP32", "data": data}


def request(data=(0.5, 0.25, 0.0), batch=1, **parameters):
    return {"inputs": [tensor(list(data), batch)], "parameters": parameters}


def term(name, *data, **changes):
    """One observation of a term."""
    return {"name": name, "shape": [1, len(data)], "datatype": "FP32", "data": list(data)} | changes


def by_terms(**parameters):
    """The observation of `request`, by term and not in the order of the contract."""
    return {"inputs": [term("velocity", 0.0), term("position", 0.5, 0.25)], "parameters": parameters}


def raw(*values):
    return struct.pack(f"<{len(values)}f", *values)
