"""Evaluate the policy without and with noise, and its bundle, on the same episodes; record a video of one.

The robot's own inference code runs the bundle, so that the release gate checks a robot's actions.
"""

import torch

from sacpipe.bundle.reader import open_bundle
from sacpipe.core.config import Config
from sacpipe.core.errors import InterruptedRunError
from sacpipe.core.files import write_json
from sacpipe.core.seeding import episode_seed, generator
from sacpipe.envs import TaskConfig
from sacpipe.envs.base import Policy as Act
from sacpipe.evaluation.config import EvaluationConfig
from sacpipe.evaluation.episodes import Episode, evaluate, from_task_units
from sacpipe.evaluation.episodes_csv import write_episodes_csv
from sacpipe.evaluation.statistics import EvaluateMetrics, summarise
from sacpipe.evaluation.video import record_episode, write_no_video
from sacpipe.networks.policy_file import Policy, read_policy
from sacpipe.project.identity.members import members_of, policy_members
from sacpipe.project.processor_kind import record_kind
from sacpipe.project.stage import StageContext, run_stage
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray


class EvaluateParams(Config):
    """The sections of params.yaml that the evaluate stage depends on."""

    seed: int
    task: TaskConfig
    evaluation: EvaluationConfig


def evaluate_stage(context: StageContext) -> None:
    """Write every episode, the summaries, and a video or the reason why there is none."""
    workspace = context.workspace
    params = EvaluateParams.load_sections(workspace.params)
    video = params.evaluation.video
    members = members_of(params.task)
    task = context.probe(params.task, members, None if video is None else (video.height, video.width))
    torch.set_num_threads(1)
    policy = read_policy(workspace.policy)
    opened = open_bundle(workspace.bundle, follow_cache_links=True)
    bundle = OnnxPolicy(opened)
    members += policy_members(policy.header.kind, policy.header.network) + members_of(opened.contract.runtime)
    seeds = [episode_seed(params.seed, "evaluate", index) for index in range(params.evaluation.episodes)]

    def deterministic(observation: Observation) -> FloatArray:
        return policy.network.act(observation, None)

    if video is None:  # DVC expects the folder always
        write_no_video(params.task, workspace.video, "evaluation.video in params.yaml is null.")
    else:
        record_episode(deterministic, params.task, seeds[0], video, workspace.video)
    candidates = {
        "deterministic": deterministic,
        "stochastic": _with_noise(policy, params.seed),
        "bundle": from_task_units(bundle.act, policy.header.spec),
    }
    episodes_by_policy = {
        name: _run_episodes(context, act, params, seeds) for name, act in candidates.items()
    }
    summaries = {
        name: summarise(episodes, params.evaluation, params.seed)
        for name, episodes in episodes_by_policy.items()
    }
    context.refuse_uncovered(members, task)
    write_episodes_csv(workspace.episodes, episodes_by_policy)
    metrics = EvaluateMetrics(**summaries)
    write_json(workspace.evaluate_metrics, metrics.as_tree())
    write_json(workspace.stage_results("evaluate"), metrics.compared())
    record_kind(workspace, "evaluate", context.key)


def _with_noise(policy: Policy, seed: int) -> Act:
    noise = generator(seed, "evaluate/noise")
    return lambda observation: policy.network.act(observation, noise)


def _run_episodes(
    context: StageContext, act: Act, params: EvaluateParams, seeds: list[int]
) -> tuple[Episode, ...]:
    environment = params.task.make()
    episodes: list[Episode] = []
    for seed in seeds:
        if context.interruption.requested:
            raise InterruptedRunError("evaluation was interrupted. The same command starts it again.")
        episodes += evaluate(act, environment, [seed])
    environment.close()
    return tuple(episodes)


if __name__ == "__main__":
    run_stage("evaluate", evaluate_stage)
