"""The packed record of a transition in memory.

The float32 vectors are first and adjacent, so that a network's input stays a view of gathered records. One
record is one place in memory, so a random draw reads one place instead of seven. Images are apart, because an
image is stored once and serves two transitions (see images.py).
"""

import numpy as np
from numpy.typing import DTypeLike

from sacpipe.specs.env_spec import EnvSpec

_ALIGNMENT = 4
"""Bytes that the records' size is a multiple of: NumPy and PyTorch view no float32 array of other strides."""


def packed_dtype(spec: EnvSpec) -> np.dtype[np.void]:
    """Return the type of a buffer's records: everything of a transition but its images."""
    vector = (np.float32, (spec.layout.vector_dim,))
    fields: dict[str, DTypeLike] = {
        "observations": vector,
        "actions": (np.float32, (spec.action_dim,)),
        "next_observations": vector,
        "rewards": np.float32,
        "steps_to_end": np.int32,  # see episode_ends.py
        "terminations": np.bool_,
        "truncations": np.bool_,
    }
    size = np.dtype(list(fields.items())).itemsize
    padded = -(-size // _ALIGNMENT) * _ALIGNMENT
    return np.dtype({"names": [*fields], "formats": [*fields.values()], "itemsize": padded})


def transition_bytes(spec: EnvSpec) -> int:
    """Return the memory of one transition in a buffer, in bytes, without the last images of episodes."""
    images = image_bytes(spec)
    return packed_dtype(spec).itemsize + images + (np.dtype(np.int32).itemsize if images else 0)


def batch_row_bytes(spec: EnvSpec) -> int:
    """Return the memory of one row of gathered transitions, in bytes."""
    return packed_dtype(spec).itemsize + 2 * image_bytes(spec)


def image_bytes(spec: EnvSpec) -> int:
    """Return the bytes of all images of one observation."""
    return sum(term.size for term in spec.layout.image_terms)
