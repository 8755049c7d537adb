"""The packed record of a transition in memory.

The float32 vectors are first and adjacent, so that a network's input stays a view of gathered records. One
record is one place in memory, so a random draw reads one place instead of seven. Images are apart, because an
image is stored once and serves two transitions (see images.py).
"""

import numpy as np

from sacpipe.specs.env_spec import EnvSpec


def packed_dtype(spec: EnvSpec) -> np.dtype[np.void]:
    """Return the type of a buffer's records: everything of a transition but its images."""
    vector = (spec.layout.vector_dim,)
    return np.dtype(
        [
            ("observations", np.float32, vector),
            ("actions", np.float32, (spec.action_dim,)),
            ("next_observations", np.float32, vector),
            ("rewards", np.float32),
            ("terminations", np.float32),
            ("truncations", np.float32),
            ("steps_to_end", np.int32),  # see episode_ends.py
        ]
    )


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
