"""The message of a canary: a foreign private part that moved is named, with what to do."""

import contextlib

import pytest


@contextlib.contextmanager
def canary(name, remedy):
    """Fail with "NAME changed: ..." where the block fails, whatever raised.

    Args:
        name: The private part, with its package.
        remedy: The file of ours that uses it, and what to write there instead.
    """
    try:
        yield
    except Exception as exc:
        pytest.fail(f"{name} changed: {type(exc).__name__}: {exc}. {remedy}", pytrace=False)
