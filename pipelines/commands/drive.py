"""`sacpipe drive`: a simulated robot in real time, through the runtime that robots use."""

import argparse
import json
import sys

HELP = "drive a task in real time through the robot's runtime: returns, verdicts, latency"
EXAMPLE = (
    "  sacpipe drive\n"
    "  sacpipe drive out/export/bundle --rate 200 --seconds 30\n"
    "  sacpipe drive --noise 0.01 --drop-out 0.05 --delay 1 --nan 0.001"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument(
        "policy", nargs="?", help="a bundle folder or models:/NAME@ALIAS; default: the workspace's own bundle"
    )
    parser.add_argument("--rate", type=float, metavar="HZ", help="control rate; default: the contract's")
    parser.add_argument("--seconds", type=float, default=10.0, help="default: %(default)s")
    parser.add_argument(
        "--seed", type=int, default=0, help="of episodes and disturbances; default: %(default)s"
    )
    parser.add_argument("--noise", type=float, default=0.0, help="share of each entry's range in training")
    parser.add_argument("--drop-out", type=float, default=0.0, help="chance that a step sees nothing new")
    parser.add_argument("--delay", type=int, default=0, metavar="STEPS", help="of every observation")
    parser.add_argument("--nan", type=float, default=0.0, help="chance that an entry is not a number")
    parser.add_argument("--priority", type=int, help="realtime priority, 1 to 99; needs leave to use it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Drive, and print what became of it."""
    from pipelines.drive import Disturbance, drive
    from sacpipe.core.errors import ConfigError

    if arguments.rate is not None and not 0 < arguments.rate <= 10_000:
        raise ConfigError(f"--rate: expected more than 0 and at most 10000 Hz, found {arguments.rate}.")
    if not 0 < arguments.seconds < 1e6:
        raise ConfigError(f"--seconds: expected more than 0, found {arguments.seconds}.")
    found = drive(
        arguments.policy,
        rate_hz=arguments.rate,
        seconds=arguments.seconds,
        seed=arguments.seed,
        disturbance=Disturbance.parse(
            {
                "noise": arguments.noise,
                "drop_out": arguments.drop_out,
                "delay_steps": arguments.delay,
                "not_a_number": arguments.nan,
            },
            source="command line",
        ),
        priority=arguments.priority,
    )
    if arguments.json:
        sys.stdout.write(json.dumps(found.as_tree()) + "\n")
        return 0
    loop = found.loop
    sys.stdout.write(f"{found.task}, bundle {found.bundle[:12]}, {found.rate_hz:g} Hz\n")
    sys.stdout.write(f"  steps     {loop.steps}, deadlines missed {loop.missed}\n")
    if returns := found.episode_returns:
        sys.stdout.write(f"  return    {sum(returns) / len(returns):.2f} mean of {len(returns)} episodes\n")
    for name, counts in (("verdicts", loop.verdicts), ("causes", loop.causes)):
        told = ", ".join(f"{key} {count}" for key, count in counts.items() if count)
        sys.stdout.write(f"  {name:<9} {told or 'none'}\n")
    sys.stdout.write("  us             p50       p99     p99.9   largest\n")
    for name, spread in (("step", loop.step_us), ("late", loop.lateness_us)):
        numbers = (spread.p50, spread.p99, spread.p999, spread.largest)
        sys.stdout.write(f"  {name:<5}" + "".join(f"{number:10.1f}" for number in numbers) + "\n")
    return 0
