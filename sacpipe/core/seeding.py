"""Independent streams of random numbers from one seed, each with a name.

A stream is found by its name, not by a counter, so a new stream does not change the others. No code
uses a global generator; each part owns the generator it receives.
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
    """Return one integer in [0, 2**31) for a named stream, to seed generators other than NumPy's."""
    return int(_sequence(seed, name).generate_state(1)[0] >> 1)


def episode_seed(seed: int, stream: str, episode: int) -> int:
    """Return the seed to reset an environment with: a function of seed, stream and episode number only."""
    return stream_seed(seed, f"{stream}/episode/{episode}")


_LOW_64 = (1 << 64) - 1


def generator_state(source: np.random.Generator) -> NDArray[np.uint64]:
    """Return the whole state of a PCG64 generator as six integers. Shape (6,)."""
    state = source.bit_generator.state
    inner = state["state"]
    values = [inner["state"] >> 64, inner["state"] & _LOW_64, inner["inc"] >> 64, inner["inc"] & _LOW_64]
    return np.array([*values, state["has_uint32"], state["uinteger"]], dtype=np.uint64)


def restore_generator(target: np.random.Generator, state: NDArray[np.uint64]) -> None:
    """Set a PCG64 generator to a state that `generator_state` returned."""
    values = [int(value) for value in state]
    target.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": (values[0] << 64) | values[1], "inc": (values[2] << 64) | values[3]},
        "has_uint32": values[4],
        "uinteger": values[5],
    }
