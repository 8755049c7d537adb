"""Writes the pools in pool_v2/, once for each version of the format: `python golden_pool.py pool_v2`."""

import sys
from pathlib import Path

import numpy as np

from sacpipe.replay.pool.config import PoolConfig, PoolFormat
from sacpipe.replay.pool.writer import PoolWriter
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Transition

SPEC = EnvSpec.parse(
    {
        "task": "toy/line",
        "observation": [
            {
                "name": "load",
                "shape": [],
                "dtype": "float32",
                "unit": "kg",
                "source": "simulator",
                "groups": ["critic"],
            },
            {
                "name": "camera",
                "shape": [1, 2, 1],
                "dtype": "uint8",
                "unit": "1",
                "source": "renderer",
                "groups": ["policy", "critic"],
            },
            {
                "name": "place",
                "shape": [2],
                "dtype": "float32",
                "unit": "m",
                "source": "simulator",
                "groups": ["policy", "critic"],
            },
        ],
        "action": [{"name": "motor", "unit": "N", "low": -1.0, "high": 1.0}],
        "control_period_s": 0.5,
        "max_episode_steps": 2,
    }
)
STEPS = ((0, 0, 0), (1, 0, 0), (10, 7, 1), (11, 7, 1), (12, 7, 1))
"""Place, load and episode."""


def observed(place: int, load: int) -> Observation:
    """The observation at a place."""
    image = np.array([[[place], [200 + place]]])
    return SPEC.layout.pack({"place": [place, place + 0.5], "load": load, "camera": image})


def write_golden(folder: Path, form: PoolFormat) -> None:
    """Write five transitions in segments of four."""
    writer = PoolWriter.create(folder, SPEC, PoolConfig(segment_transitions=4, format=form))
    for number, (place, load, episode) in enumerate(STEPS):
        writer.append(
            Transition(
                observed(place, load),
                np.array([(number + 1) / 8], dtype=np.float32),
                -1.0 - number,
                observed(place + 1, load),
                terminated=False,
                truncated=place == 1,
                episode_id=episode,
            )
        )
    writer.finish()


if __name__ == "__main__":
    for name in ("full", "compact"):
        write_golden(Path(sys.argv[1]) / name, name)
