"""The time that each sampler takes for a batch of 256.

    python benchmarks/samplers.py [rounds]

From 100,000 made-up transitions of HalfCheetah's widths with goals of three entries. That of `prioritised`
includes the new priorities. Writes benchmarks/samplers.json and its part of docs/results.md.
"""

import sys
import time

import numpy as np
from report import shown, spread, table, write

from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.samplers import SAMPLERS
from sacpipe.replay.samplers.base import GuidedSampler, Sampler, SamplerContext
from sacpipe.replay.view import BufferView
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray, Transition
from sacpipe.specs.terms import BOTH, vector_term

LENGTH, BATCH, EPISODE, DRAWS = 100_000, 256, 1000, 300
TERMS = (
    vector_term("state", 17, unit="mixed", source="made up"),
    vector_term("achieved", 3, unit="m", source="made up", groups=("achieved_goal",)),
    vector_term("desired", 3, unit="m", source="made up", groups=(*BOTH, "desired_goal")),
)
SPEC = EnvSpec.parse(
    {
        "task": "example/cheetah",
        "observation": [term.as_tree() for term in TERMS],
        "action": [{"name": f"joint_{index}", "unit": "N m", "low": -1.0, "high": 1.0} for index in range(6)],
        "control_period_s": None,
        "max_episode_steps": None,
    }
)


def filled() -> BufferView:
    """Return a buffer of made-up transitions."""
    generator, buffer = np.random.default_rng(0), ReplayBuffer(SPEC, LENGTH)
    vectors = generator.standard_normal((LENGTH + 1, SPEC.observation_dim), dtype=np.float32)
    observations = [Observation(SPEC.layout, vector, {}) for vector in vectors]
    actions = generator.uniform(-1.0, 1.0, (LENGTH, SPEC.action_dim)).astype(np.float32)
    for row, action in enumerate(actions):
        episode, is_last = row // EPISODE, row % EPISODE == EPISODE - 1
        buffer.add(Transition(observations[row], action, 0.0, observations[row + 1], False, is_last, episode))
    return buffer.view()


def rewards_of(
    _observations: Observation, actions: FloatArray, next_observations: Observation
) -> tuple[FloatArray, FloatArray]:
    """Return sparse rewards by distance, and no termination."""
    distances = np.abs(next_observations["achieved"] - next_observations["desired"]).sum(axis=1)
    return -(distances > 1.0).astype(np.float32), np.zeros(len(actions), dtype=np.float32)


def draw_us(sampler: Sampler, view: BufferView, generator: np.random.Generator) -> float:
    """Return the processor's time of a draw, in microseconds."""
    errors = np.abs(generator.standard_normal(BATCH, dtype=np.float32))
    start = time.process_time()
    for _ in range(DRAWS):
        sampler(view, generator, BATCH)
        if isinstance(sampler, GuidedSampler):
            sampler.receive(errors)
    return (time.process_time() - start) / DRAWS * 1e6


def main(rounds: int = 9) -> None:
    """Measure the samplers in turns, print and write."""
    view, generator = filled(), np.random.default_rng(1)
    context = SamplerContext(SPEC, 0.99, lambda: rewards_of)
    samplers = {name: SAMPLERS.find(name).example().build_from(context) for name in SAMPLERS.ours}
    times: dict[str, list[float]] = {name: [] for name in samplers}
    for _ in range(rounds):
        for name, sampler in samplers.items():
            times[name].append(draw_us(sampler, view, generator))
    rows = [[name, shown(spread(found), 1)] for name, found in times.items()]
    text = table(["sampler", "microseconds of processor time"], rows)
    write("samplers", ["numpy"], {"microseconds": times}, text)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
