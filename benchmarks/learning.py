"""Learning curves of sacpipe and its peers on the same tasks; `make learn`.

    python benchmarks/learning.py run [FOLDER]            all jobs, two at a time, each on a core of its own
    python benchmarks/learning.py draw [FOLDER]           pictures and tables in docs/ from what is finished
    python benchmarks/learning.py engines TASK SEED...    the engines `native` and `torch`, paired by seed

A job is one program, task and seed. sacpipe's continue from their checkpoint when they are started
again, a peer's start over; what is finished is not run twice. FOLDER is `.learning` by default.
The peers' jobs need the environment that `make bench` builds in .peers.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import paired
import report
from curves import OURS_TD3, OURS_TQC, PEER_TD3, Job, Points, one, read_points, run, seconds_to
from race import OURS, ROUGH
from report import ROOT

SEEDS = (1, 2, 3)
TASKS = {
    "gymnasium/HalfCheetah-v5": 200_000,
    "dm_control/cheetah-run": 100_000,
    "gymnasium/Hopper-v5": 100_000,
    "gymnasium/Walker2d-v5": 100_000,
}
PEER_TASKS = {"gymnasium/HalfCheetah-v5": 100_000, "dm_control/cheetah-run": 100_000}
GOAL = 5_000
ROUGH_TASK, ROUGH_STEPS = "gymnasium/HalfCheetah-v5", 100_000
"""Products in bfloat16, with the same seeds as in float32, so that pairs can be compared."""
COLOURS = {
    OURS: "#1f5fbf",
    ROUGH: "#2f8f5b",
    "sbx": "#c2571a",
    OURS_TD3: "#7a4fbf",
    PEER_TD3: "#8a8a2f",
    OURS_TQC: "#b03060",
}
PUBLISHED = {  # plain SAC, 256 units, means of 10 seeds; sources in docs/results.md
    "gymnasium/HalfCheetah-v5": "4,757 to 6,156 / 6,536 to 7,939",
    "gymnasium/Hopper-v5": "763 to 2,013 (v2 to v4)",
    "gymnasium/Walker2d-v5": "520 to 771 (v2 to v4)",
    "dm_control/cheetah-run": "177 to 213",
}


def jobs() -> list[Job]:
    """Return every curve in the order of how much depends on it."""
    ours = [Job(OURS, task, steps, seed) for task, steps in TASKS.items() for seed in SEEDS]
    rough = [Job(ROUGH, ROUGH_TASK, ROUGH_STEPS, seed) for seed in SEEDS]
    theirs = [Job("sbx", task, steps, seed) for task, steps in PEER_TASKS.items() for seed in SEEDS]
    td3 = [Job(name, ROUGH_TASK, ROUGH_STEPS, seed) for name in (OURS_TD3, PEER_TD3) for seed in SEEDS]
    tqc = [Job(OURS_TQC, ROUGH_TASK, ROUGH_STEPS, seed) for seed in SEEDS]
    return ours[:3] + theirs[:3] + rough + td3 + tqc + ours[3:6] + theirs[3:] + ours[6:]


def run_all(folder: Path) -> None:
    """Run what is not finished."""
    run(jobs(), folder, lambda _job, _points: None)


def draw(folder: Path) -> None:
    """Draw what is finished into docs/learning.png and write its part of docs/results.md."""
    curves: dict[str, dict[str, list[Points]]] = {}
    for job in jobs():
        if job.curve(folder).exists():
            curves.setdefault(job.task, {}).setdefault(job.program, []).append(read_points(job, folder))
    if not curves:
        sys.exit(f"{folder} holds no finished curve yet; `make learn` makes them.")
    draw_curves(curves)
    rows = [line for task, programs in curves.items() for line in table_rows(task, programs)]
    head = (
        "task",
        "program",
        "seeds",
        "50k",
        "100k",
        "200k",
        "published, 100k / 200k",
        f"seconds to {GOAL:,}",
    )
    text = "![learning curves](learning.png)\n\n" + report.table(head, rows)
    report.write("learning", ["sacpipe", "torch", "mujoco", "gymnasium"], {"curves": curves}, text)


def draw_curves(curves: dict[str, dict[str, list[Points]]]) -> None:
    """Draw a panel a task: thin lines are seeds, the thick one their mean, the band their range."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(curves), figsize=(5.2 * len(curves), 4), squeeze=False)
    for axes, (task, programs) in zip(panels[0], curves.items(), strict=True):
        for program, seeds in programs.items():
            steps = [point["env_steps"] for point in seeds[0]]
            returns = np.array([[point["return_mean"] for point in points] for points in seeds])
            axes.fill_between(steps, returns.min(0), returns.max(0), color=COLOURS[program], alpha=0.12, lw=0)
            axes.plot(steps, returns.T, color=COLOURS[program], alpha=0.35, lw=0.8)
            label = f"{program} ({len(seeds)} seeds)"
            axes.plot(steps, returns.mean(0), color=COLOURS[program], lw=2, label=label)
        axes.set_title(task, fontsize=10)
        axes.set_xlabel("environment steps")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize=8)
    panels[0][0].set_ylabel("return, deterministic, 10 episodes")
    figure.tight_layout()
    figure.savefig(ROOT / "docs" / "learning.png", dpi=90, metadata={"Software": None})


def table_rows(task: str, programs: dict[str, list[Points]]) -> Iterator[tuple[str, ...]]:
    """Give a table row a program: means over seeds with each seed's value behind."""
    for program, seeds in programs.items():
        at = [{point["env_steps"]: point["return_mean"] for point in points} for points in seeds]
        cells = [_means([values.get(steps) for values in at]) for steps in (50_000, 100_000, 200_000)]
        published = PUBLISHED.get(task, "") if program == OURS else ""
        reached = [seconds_to(points, GOAL) for points in seeds] if "HalfCheetah" in task else []
        yield (
            task,
            program,
            str(len(seeds)),
            *cells,
            published,
            _means(reached) or ("not by all" if reached else ""),
        )


def _means(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return ""
    each = ", ".join(f"{value:,.0f}" for value in known)
    return f"{sum(known) / len(known):,.0f} ({each})"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["one", program, task, steps, seed, folder]:
            one(program, task, int(steps), int(seed), Path(folder))
        case ["run", *rest]:
            run_all(Path(rest[0] if rest else ".learning").absolute())
        case ["draw", *rest]:
            draw(Path(rest[0] if rest else ".learning").absolute())
        case ["engines", task, *seeds] if task in paired.TASKS and seeds:
            paired.compare(task, [int(seed) for seed in seeds], Path(".learning").absolute())
        case _:
            sys.exit(__doc__)
