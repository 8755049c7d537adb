"""`sacpipe drive`: a simulated robot in real time, with the runtime of a robot."""

import argparse
import json
from typing import Any

from sacpipe.cli.output import write_output
from sacpipe.cli.paths import path_argument
from sacpipe.cli.simulate import add_policy_arguments

HELP = "run a task in real time with the robot's runtime: returns, verdicts, latency"
EXAMPLE = (
    "  sacpipe drive\n"
    "  sacpipe drive out/export/bundle --rate 200 --seconds 30\n"
    "  sacpipe drive --noise 0.01 --drop-out 0.05 --delay 1 --nan 0.001\n"
    "  sacpipe drive --option gear=0.5 --actuator-noise 0.1 --record recordings"
)

_DISTURBANCES: tuple[tuple[str, type[int | float], str, str, str], ...] = (
    ("--noise", float, "NOISE", "noise", "of observations, as a share of each entry's range in training"),
    ("--drop-out", float, "DROP_OUT", "drop_out", "probability that a step gets no new observation"),
    ("--delay", int, "STEPS", "delay_steps", "delay of every observation"),
    ("--nan", float, "NAN", "not_a_number", "probability that an entry of an observation is NaN"),
    (
        "--actuator-noise",
        float,
        "ACTUATOR_NOISE",
        "actuator_noise",
        "of actions, as a share of each one's range",
    ),
)
"""Option, type, placeholder, key of `DriveConfig.disturbance` and explanation."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    add_policy_arguments(parser, "a bundle folder")
    parser.add_argument("--rate", type=float, metavar="HZ", help="control rate; default: the contract's")
    parser.add_argument("--seconds", type=float, default=10.0, help="default: %(default)s")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of episodes and disturbances; default: %(default)s"
    )
    for option, kind, metavar, name, text in _DISTURBANCES:
        parser.add_argument(option, type=kind, default=kind(0), metavar=metavar, dest=name, help=text)
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="task option that differs on this robot; repeat it for several options",
    )
    parser.add_argument(
        "--record", type=path_argument, metavar="FOLDER", help="record transitions into this folder"
    )
    parser.add_argument(
        "--priority", type=int, help="realtime priority, 1 to 99; needs the permission for it"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Run the task and print returns, verdicts and latency."""
    from sacpipe.simulation.drive import DriveConfig, drive

    config = {
        "rate_hz": arguments.rate,
        "seconds": arguments.seconds,
        "seed": arguments.seed,
        "disturbance": {name: getattr(arguments, name) for *_, name, _ in _DISTURBANCES},
        "priority": arguments.priority,
        "task": arguments.task,
        "options": _options(arguments.option),
    }
    found = drive(arguments.policy, DriveConfig.parse(config, source="command line"), arguments.record)
    if arguments.json:
        write_output(json.dumps(found.as_tree()) + "\n")
        return 0
    loop = found.loop
    write_output(f"{found.task}, bundle {found.bundle[:12]}, {found.rate_hz:g} Hz\n")
    write_output(f"  steps     {loop.steps}, deadlines missed {loop.missed}\n")
    if returns := found.episode_returns:
        write_output(f"  return    {sum(returns) / len(returns):.2f} mean of {len(returns)} episodes\n")
    for name, counts in (("verdicts", loop.verdicts), ("causes", loop.causes)):
        listed = ", ".join(f"{key} {count}" for key, count in counts.items() if count)
        write_output(f"  {name:<9} {listed or 'none'}\n")
    write_output("  us             p50       p99     p99.9   largest\n")
    for name, spread in (("step", loop.step_us), ("late", loop.lateness_us)):
        numbers = (spread.p50, spread.p99, spread.p999, spread.largest)
        write_output(f"  {name:<5}" + "".join(f"{number:10.1f}" for number in numbers) + "\n")
    if (seen := found.recorder) is not None:
        write_output(
            f"  recorded  {seen.transitions} transitions, {seen.gaps} gaps, {seen.dropped} steps dropped"
            f"{'' if seen.failure is None else ', paused at the end: ' + seen.failure}\n"
        )
    return 0


def _options(arguments: list[str]) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    from sacpipe.core.errors import ConfigError

    options = {}
    for text in arguments:
        name, sign, value = text.partition("=")
        try:
            options[name] = YAML(typ="safe").load(value)
        except YAMLError:
            options[name] = None
        if not (name and sign) or not isinstance(options[name], bool | int | float | str):
            raise ConfigError(
                f"--option: expected NAME=VALUE with a number, a text, true or false, found '{text}'."
            )
    return options
