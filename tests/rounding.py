"""A program that prints digests of what a processor may round otherwise: `python rounding.py PART...`, as JSON."""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np


def digest(*values):
    return hashlib.sha256(np.asarray(values, dtype=np.float64).tobytes()).hexdigest()[:16]


def moving():
    """Return what NumPy and its BLAS leave to the processor: functions, and sums of products."""
    values = np.random.default_rng(1).normal(size=1000)
    sums = [np.dot(values[:size], values[size : 2 * size]) for size in range(1, 500)]
    return {"functions": digest(np.exp(values), np.cosh(values)), "sums": digest(sums)}


def statistics():
    """Return numbers of an evaluation, and of a comparison of two."""
    from sacpipe.evaluation.config import EvaluationConfig
    from sacpipe.evaluation.episodes import Episode
    from sacpipe.evaluation.statistics import difference_interval, interquartile_mean, summarise

    random = np.random.default_rng(2)
    episodes = [
        Episode(
            seed,
            float(random.normal()),
            7,
            False,
            True,
            {"speed": random.normal()},
            {"speed": random.normal()},
        )
        for seed in range(37)
    ]
    config = EvaluationConfig(episodes=37, bootstrap_resamples=2500, confidence=0.95, video=None)
    summary = summarise(episodes, config, 1).as_tree()
    returns = [episode.episode_return for episode in episodes]
    interval = difference_interval(returns, [value + 0.1 for value in returns[5:]], config, 1)
    middles = [interquartile_mean(np.sort(random.normal(size=size))) for size in range(1, 400)]
    return {"summary": json.dumps(summary), "difference": digest(*interval), "middles": digest(middles)}


def value_bias():
    """Return the bias of values that are zero: the mean discounted return."""
    from sacpipe.algorithms.actor_critic import value_bias as bias
    from sacpipe.algorithms.base import EvaluatedEpisode

    random = np.random.default_rng(3)
    episodes = [EvaluatedEpisode(None, None, tuple(random.normal(size=1000).tolist())) for _ in range(3)]
    return {name: repr(value) for name, value in bias(episodes, lambda *_: 0.0, 0.99).items()}


def tasks():
    """Return rewards and observations of 500 steps of tasks, two of them with dm_control's rewards in NumPy."""
    import factories

    from sacpipe.core.config import Config
    from sacpipe.envs import TaskConfig

    class Section(Config):
        task: TaskConfig

    found = {}
    for name in ("dm_control/cartpole-balance", "dm_control/cheetah-run", "gymnasium/HalfCheetah-v5"):
        environment = Section.parse({"task": factories.make_params(name)["task"]}).task.make()
        random, rewards, seen = np.random.default_rng(4), [], [environment.reset(5).vector]
        for _ in range(500):
            step = environment.step(random.uniform(-1, 1, environment.spec.action_dim).astype(np.float32))
            rewards.append(step.reward)
            seen.append(step.observation.vector)
        environment.close()
        found[name] = [digest(rewards), digest(seen)]
    return found


def training():
    """Return the outputs of a short training by the public API, which starts a process of its own."""
    import factories

    import sacpipe

    params = factories.make_params(
        "dm_control/cartpole-balance",
        algorithm={"network": {"name": "mlp", "hidden_dims": [8, 8]}},
        training={
            "total_steps": 200,
            "random_steps": 50,
            "batch_size": 8,
            "evaluation_interval_steps": 100,
            "evaluation_episodes": 1,
            "log_interval_steps": 50,
            "checkpoint_interval_steps": 100,
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        sacpipe.train(params, folder)
        names = ("curve.csv", "metrics.json", "metrics.jsonl", "policy.safetensors", "pool/manifest.json")
        return {name: hashlib.sha256(Path(folder, name).read_bytes()).hexdigest()[:16] for name in names}


if __name__ == "__main__":
    sys.stdout.write(json.dumps({name: globals()[name]() for name in sys.argv[1:]}) + "\n")
