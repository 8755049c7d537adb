"""Wall-clock seconds by phase, in a file that is never an output."""

import json
import time
from pathlib import Path

from sacpipe.training.metrics import LineFile


class Clock:
    """Adds up time by phase: `lap` counts the time since the last call for a phase."""

    def __init__(self, path: Path, env_steps: int) -> None:
        self._file = LineFile(path, _whole_bytes(path))
        self._start = self._last = self._logged = time.perf_counter()
        self._steps = env_steps
        self._phases: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        """Count the time since the last call for a phase."""
        now = time.perf_counter()
        self._phases[phase] = self._phases.get(phase, 0.0) + now - self._last
        self._last = now

    def log(self, env_steps: int) -> None:
        """Write speed and phases since the last call."""
        now = time.perf_counter()
        row = {
            "env_steps": env_steps,
            "elapsed_s": now - self._start,
            "steps_per_s": (env_steps - self._steps) / max(now - self._logged, 1e-9),
            "phases_s": {phase: round(seconds, 6) for phase, seconds in sorted(self._phases.items())},
        }
        self._file.write(json.dumps(row))
        self._logged, self._steps, self._phases = now, env_steps, {}

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _whole_bytes(path: Path) -> int:
    """Return the size of the whole rows at a file's start: it is not synced, so a kill may cut a row."""
    size_bytes = 0
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        try:
            json.loads(line)
        except ValueError:
            break
        size_bytes += len(line) * line.endswith(b"\n")
    return size_bytes
