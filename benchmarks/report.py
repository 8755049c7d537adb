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

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results.md"
_WRITTEN_HERE = (":!benchmarks/*.json", ":!docs/results.md")


def write(name: str, packages: Sequence[str], figures: dict[str, Any], text: str) -> None:
    """Write a benchmark's figures for programs and for people, and print the latter.

    Args:
        name: Of the benchmark.
        packages: Whose versions matter to it.
        figures: Raw numbers and what was made of them.
        text: Markdown, behind the paragraph that says command, machine and date.
    """
    known = {"command": command(), "date": today(), "commit": commit(), "machine": machine()}
    tree = known | {"versions": {package: version(package) for package in packages}} | figures
    (ROOT / "benchmarks" / f"{name}.json").write_text(json.dumps(tree, indent=2) + "\n")
    part = f"{_provenance(tree)}\n{text.rstrip()}\n"
    _replace_part(name, part)
    print(part)


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
    """Describe this machine."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory_bytes / 2**30),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def processor() -> str:
    """Return the processor's name as the system gives it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


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


def _provenance(tree: dict[str, Any]) -> str:
    here = tree["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in tree["versions"].items())
    return paragraph(
        f"`{tree['command']}`, {tree['date']}, commit {tree['commit']}; {here['cores']} cores of "
        f"{here['processor']}, {here['memory_gib']} GiB; Python {here['python']}, {versions}."
    )


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
