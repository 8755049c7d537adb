"""Live: one seed and print its operations, a range of seeds, or a range with a planted mistake."""

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from simulated.planted import plant


def main(arguments: list[str]) -> int:
    """Run the command; return 1 where an invariant does not hold."""
    parser = argparse.ArgumentParser(prog="python -m simulated", description=__doc__)
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int, nargs="?", help="the seed after the last one of a range")
    parser.add_argument("--mistake", help="plant it, and end at the first seed that finds it")
    chosen = parser.parse_args(arguments)
    if chosen.mistake:
        plant(chosen.mistake)
    if chosen.last is None:
        return _show(chosen.first)
    seeds = range(chosen.first, chosen.last)
    if chosen.mistake:
        found = next(filter(None, map(_fault, seeds)), None)
        _tell(found or "not found")
        return int(found is not None)
    begin, failed = time.monotonic(), 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for fault in filter(None, pool.map(_fault, seeds, chunksize=10)):
            failed += 1
            _tell(fault)
    _tell(f"{len(seeds)} seeds, {failed} failed, {time.monotonic() - begin:.0f} s")
    return int(failed > 0)


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _fault(seed: int) -> str | None:
    from simulated.life import live

    return live(seed)[1]


def _show(seed: int) -> int:
    from simulated.life import live

    trace, fault = live(seed, keep_trace=True)
    _tell("\n".join(trace.lines or ()))
    _tell(fault or f"seed {seed}: {trace.steps} steps, digest {trace.digest()}")
    return int(fault is not None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
