"""What engine.py writes into docs/results.md."""

from collections.abc import Iterator
from typing import Any

from race import ENGINES, PEERS, PHASES, ROUGH, TORCH
from report import paragraph, peak_text, shown, table

Figures = dict[str, Any]


def page(figures: Figures) -> Iterator[str]:
    """Describe the figures of the finished parts."""
    yield paragraph(f"Peers, in an environment of their own: {_listed(figures['peers'])}.")
    if figures["tasks"]:
        yield from _tasks_page(figures["tasks"])
    if "two_seeds" in figures:
        yield paragraph(
            "Two seeds of gymnasium/HalfCheetah-v5 at once, a core and a thread each, beside one:"
        )
        yield _seeds_table(figures["two_seeds"])
    head = ["part", "command", "date", "commit", "processor", "load average before", "rounds"]
    yield paragraph("When each part was measured:")
    yield table(head, _provenance_rows(figures))


def _tasks_page(tasks: Figures) -> Iterator[str]:
    programs = (*ENGINES, *PEERS)
    yield paragraph(f"""
        Two hidden layers of 256 units, batch 256, one update a step, end to end (act, step, store with the
        pool on disk, sample, update); all in float32, but for the products of {ROUGH}. In each round every
        program has its seconds on one core and on two, one program at a time, in shuffled order; `{TORCH}`
        has one thread and one core. Steps/s on 1 / 2 cores, medians:""")
    yield table(["task", *programs], (_speed_row(task, found, programs) for task, found in tasks.items()))
    yield paragraph("""
        Ratios of steps/s within a round, median (lowest to highest). On two cores, each program has one
        thread or two, whichever is faster in the median.""")
    yield table(["task", "program", "cores", *(f"/ {name}" for name in (*PEERS, TORCH))], _ratio_rows(tasks))
    yield paragraph("Parts of a step of ours, in microseconds, medians:")
    yield table(["task", "program", "cores", *PHASES], _phase_rows(tasks))
    yield paragraph("""
        The update beside the arithmetic that it needs: its matrix products at the FMA peak of its cores,
        measured right behind the training in each round. In the policy's step each row goes back through
        its lowest critic only.""")
    head = ["task", "program", "cores", "GFLOP an update", "peak, GFLOP/s", "floor, us", "update / floor"]
    yield table(head, _floor_rows(tasks))


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def _speed_row(task: str, found: Figures, programs: tuple[str, ...]) -> list[str]:
    speeds = found["steps_per_s"]
    medians = [
        [speeds.get(f"{program}, {count}", {}).get("median") for count in (1, 2)] for program in programs
    ]
    return [task, *(" / ".join("-" if one is None else f"{one:.0f}" for one in pair) for pair in medians)]


def _ratio_rows(tasks: Figures) -> Iterator[list[str]]:
    for task, found in tasks.items():
        for ours in ENGINES:
            for cores, ratios in found["ratios"].items():
                cells = [ratios.get(f"{ours} / {other}") for other in (*PEERS, TORCH)]
                if any(cells):
                    yield [task, ours, cores, *("" if one is None else shown(one) for one in cells)]


def _phase_rows(tasks: Figures) -> Iterator[list[str]]:
    for task, found in tasks.items():
        for name, part in found["inside"].items():
            phases = [f"{part['phases_us'][phase]['median']:,.0f}" for phase in PHASES]
            yield [task, *name.split(", "), *phases]


def _floor_rows(tasks: Figures) -> Iterator[list[str]]:
    for task, found in tasks.items():
        for name, part in found["inside"].items():
            peak, least = (f"{part[key]['median']:,.0f}" for key in ("peak_gflops", "floor_us"))
            ratio = shown(part["update_over_floor"])
            yield [task, *name.split(", "), f"{found['gflop']:.3f}", peak, least, ratio]


def _seeds_table(found: Figures) -> str:
    one, two = (f"{found[name]['median']:.0f}" for name in ("one_steps_per_s", "two_steps_per_s"))
    head = ["one, steps/s", "two, steps/s together", "two / one"]
    return table(head, [[one, two, shown(found["ratio"])]])


def _provenance_rows(figures: Figures) -> Iterator[list[str]]:
    parts = figures["tasks"] | {name: figures[name] for name in ("two_seeds",) if name in figures}
    for name, part in parts.items():
        measured, here = part["measured"], part["measured"]["machine"]
        processor = f"{here['processor']} ({here['family']} model {here['model']}), "
        yield [
            name,
            f"`{measured['command']}`",
            measured["date"],
            measured["commit"],
            processor + peak_text(here["fma_peak_gflops"]),
            str(here["load_average"]),
            f"{part['rounds']} of {part['seconds']:g} s",
        ]
