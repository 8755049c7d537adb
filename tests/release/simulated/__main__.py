"""Run lives: `python -m simulated SEED` prints the operations of one, `python -m simulated FIRST LAST` counts."""

import sys
import time

from simulated.checks import Violation
from simulated.life import Life


def main(arguments: list[str]) -> int:
    """Run the seeds; return the exit code."""
    seeds = [int(argument) for argument in arguments]
    if len(seeds) == 1:
        life = Life(seeds[0], keep_trace=True)
        try:
            digest = life.run()
        except Violation as exc:
            print("\n".join(life.simulation.trace.lines or ()))
            print(f"seed {seeds[0]}, step {life.simulation.trace.steps}: {exc}")
            return 1
        print("\n".join(life.simulation.trace.lines or ()))
        print(f"seed {seeds[0]}: {life.simulation.trace.steps} steps, {digest}")
        return 0
    failed, begin = 0, time.monotonic()
    for seed in range(seeds[0], seeds[1]):
        life = Life(seed)
        try:
            life.run()
        except Violation as exc:
            failed += 1
            print(f"seed {seed}, step {life.simulation.trace.steps}: {exc}", flush=True)
    print(f"{seeds[1] - seeds[0]} seeds, {failed} failed, {time.monotonic() - begin:.1f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
