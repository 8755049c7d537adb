"""A package with a guard, installed for one test: its module, and the metadata that registers it."""

from pathlib import Path

import pytest

GUARD = Path(__file__).with_name("tilt.py").read_text()


def install_guard(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str = GUARD) -> None:
    """Put a package `tilt_guard` with the guard `tilt` on the path, as an installation from its wheel does."""
    metadata = folder / "tilt_guard-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "tilt_guard.py").write_text(code)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tilt-guard\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[sacpipe.guards]\ntilt = tilt_guard:Tilt\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(__import__("sys").modules, "tilt_guard", raising=False)
