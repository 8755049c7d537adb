"""One seed, many named and independent streams of random numbers.

A stream is named, never counted, so a new stream does not shift the others. No part uses a global
generator; each owns the one it is given.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray


def _sequence(seed: int, name: str) -> np.random.SeedSequence:
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.SeedSequence(entropy=seed, spawn_key=tuple(digest[:8]))


def generator(seed: int, name: str) -> np.random.Generator:
    """Return the NumPy generator of a named stream."""
    return np.random.Generator(np.random.PCG64(_sequence(seed, name)))


def stream_seed(seed: int, name: str) -> int:
    """Return one integer in [0, 2**31) for a named stream, to seed what is not NumPy."""
    return int(_sequence(seed, name).generate_state(1)[0] >> 1)


def episode_seed(seed: int, stream: str, episode: int) -> int:
    """Return the seed an environment is reset with: it depends on the episode's number alone."""
    return stream_seed(seed, f"{stream}/episode/{episode}")


_LOW_64 = (1 << 64) - 1


def generator_state(source: np.random.Generator) -> NDArray[np.uint64]:
    """Return all of a PCG64 generator's state as six integers. Shape (6,)."""
    state = source.bit_generator.state
    inner = state["state"]
    values = [inner["state"] >> 64, inner["state"] & _LOW_64, inner["inc"] >> 64, inner["inc"] & _LOW_64]
    return np.array([*values, state["has_uint32"], state["uinteger"]], dtype=np.uint64)


def restore_generator(target: np.random.Generator, state: NDArray[np.uint64]) -> None:
    """Set a PCG64 generator to a state that `generator_state` gave."""
    values = [int(value) for value in state]
    target.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": (values[0] << 64) | values[1], "inc": (values[2] << 64) | values[3]},
        "has_uint32": values[4],
        "uinteger": values[5],
    }
