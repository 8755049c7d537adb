"""What every benchmark says beside its figures, and the two places it says it in.

A benchmark called NAME writes benchmarks/NAME.json, which has everything, and the part of
docs/results.md between `<!-- NAME -->` and `<!-- /NAME -->`, which is for people.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sacpipe.core.errors import KernelError
from sacpipe.kernels.library import chosen_isa
from sacpipe.kernels.peak import Peak, measure_peak
from sacpipe.project.processor_kind import this_processor

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results.md"
LOAD_AT_START = os.getloadavg()[0]
"""Load average of the last minute, before the benchmark itself is a part of it."""
_WRITTEN_HERE = (":!benchmarks/*.json", ":!docs/results.md")


def write(name: str, packages: Sequence[str], figures: dict[str, Any], text: str) -> None:
    """Write a benchmark's figures for programs and for people, and print the latter.

    Args:
        name: Of the benchmark.
        packages: Whose versions matter to it.
        figures: Raw numbers and what was made of them.
        text: Markdown, behind the paragraph that says command, machine and date.
    """
    tree = provenance() | {"versions": {package: version(package) for package in packages}} | figures
    (ROOT / "benchmarks" / f"{name}.json").write_text(json.dumps(tree, indent=2) + "\n")
    part = f"{_provenance_text(tree)}\n{text.rstrip()}\n"
    _replace_part(name, part)
    print(part)


def provenance() -> dict[str, Any]:
    """Return command, date, commit and machine of what is measured now."""
    return {"command": command(), "date": today(), "commit": commit(), "machine": machine()}


def command() -> str:
    """Return what was typed."""
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def today() -> str:
    """Return the date, in UTC."""
    return datetime.now(UTC).date().isoformat()


def commit() -> str:
    """Return the commit; `-dirty` where a file differs from it that no benchmark writes."""
    head = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *_WRITTEN_HERE)
    return f"{head}-dirty" if changed else head


def machine() -> dict[str, Any]:
    """Describe this machine, how fast it is now and how loaded: one name stands for several processors."""
    kind = this_processor()
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": kind.name,
        "family": kind.family,
        "model": kind.model,
        "fma_peak_gflops": fma_peak(),
        "load_average": round(LOAD_AT_START, 1),
        "cores": os.cpu_count(),
        "memory_gib": round(memory_bytes / 2**30),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def fma_peak() -> dict[str, Any] | None:
    """Return the FMA peak of one core in GFLOP/s, measured now; None where there is no compiler."""
    try:
        return {"instruction_set": chosen_isa()} | measure_peak()._asdict()
    except KernelError:
        return None


def spread(values: Iterable[float]) -> dict[str, Any]:
    """Return the median of some rounds with the lowest, the highest and all."""
    rounds = list(values)
    return {
        "median": statistics.median(rounds),
        "lowest": min(rounds),
        "highest": max(rounds),
        "rounds": rounds,
    }


def shown(figure: dict[str, Any], digits: int = 2) -> str:
    """Say a spread: `3.21 (3.05 to 3.40)`."""
    median, lowest, highest = (f"{figure[key]:,.{digits}f}" for key in ("median", "lowest", "highest"))
    return f"{median} ({lowest} to {highest})"


def paragraph(text: str) -> str:
    """Return a paragraph, however its lines were broken, in lines as long as the other pages'."""
    return textwrap.fill(" ".join(text.split()), 125, break_long_words=False, break_on_hyphens=False) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _provenance_text(tree: dict[str, Any]) -> str:
    here = tree["machine"]
    peak = peak_text(here["fma_peak_gflops"])
    versions = ", ".join(f"{name} {number}" for name, number in tree["versions"].items())
    return paragraph(
        f"`{tree['command']}`, {tree['date']}, commit {tree['commit']}; {here['cores']} cores of "
        f"{here['processor']} ({here['family']} model {here['model']}, {peak}, "
        f"load average {here['load_average']} at the start), {here['memory_gib']} GiB; Python "
        f"{here['python']}, {versions}."
    )


def peak_text(peak: dict[str, Any] | None) -> str:
    """Return what `fma_peak` found, as text."""
    if peak is None:
        return "FMA peak unknown: no compiler"
    return f"{Peak(peak['float32'], peak['bfloat16'])} with {peak['instruction_set']}"


def _replace_part(name: str, part: str) -> None:
    first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    text = RESULTS.read_text()
    before, found, rest = text.partition(first)
    _, found_too, after = rest.partition(last)
    if not (found and found_too):
        sys.exit(f"{RESULTS} lacks the lines {first.strip()} and {last.strip()} for this benchmark's part.")
    RESULTS.write_text(f"{before}{first}{part}{last}{after}")


def _git(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return result.stdout.strip()
