"""The policy of the mean of two learned Q-functions: how many episodes reach the goal that both tasks share.

    python benchmarks/composition.py [SEED...]   learn, add the rows to algorithms.json, and print all shares

The task is that of tests/algorithms/test_composition.py.
"""

import sys

import rows
from report import ROOT, today

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "algorithms")]


def run(seed: int) -> None:
    """Learn, add the row, and print the share of each task alone and of the mean."""
    from test_composition import UPDATES, composed_shares

    first, second, composed = composed_shares(seed)
    row = {"name": "composition", "seed": seed, "steps": UPDATES, "figure": composed, "date": today()}
    rows.add("algorithms", ("name", "seed", "steps"), row)
    print(f"seed {seed}: {first:.0%} and {second:.0%} alone, {composed:.0%} composed", flush=True)


if __name__ == "__main__":
    for number in map(int, sys.argv[1:] or ("1", "2", "3")):
        run(number)
