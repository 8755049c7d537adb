"""`sacpipe simulate`: run episodes of a policy file, a bundle or a registered policy."""

import argparse
import json

from sacpipe.cli.output import write_output
from sacpipe.cli.paths import path_argument, policy_argument

HELP = "run episodes of a policy in its task: returns, and a video if a renderer works"
EXAMPLE = (
    "  sacpipe simulate\n"
    "  sacpipe simulate out/train/policy.safetensors --stochastic --episodes 5\n"
    "  sacpipe simulate models:/InvertedDoublePendulum-v5@champion --video video/\n"
    "  sacpipe simulate bundle/ --task gymnasium/my_package:Arm-v0"
)


def add_policy_arguments(parser: argparse.ArgumentParser, files: str) -> None:
    """Add the arguments of a policy and its task, for each command that simulates one."""
    shown = f"{files} or models:/NAME@ALIAS; default: the workspace's own bundle"
    parser.add_argument("policy", nargs="?", type=policy_argument, help=shown)
    task = (
        "the policy's task, if it is not the one of params.yaml; MODULE registers it and is imported. A "
        "policy's own file never names a module"
    )
    parser.add_argument("--task", metavar="SUITE/[MODULE:]ID", help=task)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    add_policy_arguments(parser, "a policy file, a bundle folder")
    parser.add_argument("--episodes", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="seed of the episodes; default: %(default)s")
    parser.add_argument(
        "--stochastic",
        action="store_true",
        help="sample actions: of a policy file, or of a bundle with noise",
    )
    parser.add_argument(
        "--video",
        type=path_argument,
        metavar="FOLDER",
        help="record a video of the first episode into this folder",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Run the episodes and print a table."""
    from sacpipe.simulation.simulate import simulate

    result = simulate(
        arguments.policy,
        task=arguments.task,
        episodes=arguments.episodes,
        seed=arguments.seed,
        stochastic=arguments.stochastic,
        video=arguments.video,
    )
    if arguments.json:
        write_output(json.dumps(result.as_tree()) + "\n")
        return 0
    write_output(f"{result.task}, {result.kind} policy, {result.sha256[:12]}\n")
    for episode in result.episodes:
        end = "terminated" if episode.terminated else "truncated"
        write_output(f"  return {episode.episode_return:10.2f}   {episode.length:5d} steps   {end}\n")
        for name, mean in episode.metrics.items():
            write_output(f"    {name}: mean {mean:.4g}, last {episode.last_metrics[name]:.4g}\n")
    mean = sum(episode.episode_return for episode in result.episodes) / len(result.episodes)
    write_output(f"  mean   {mean:10.2f}\n")
    if result.video:
        write_output(f"{result.video}\n")
    return 0
