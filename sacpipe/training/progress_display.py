"""Progress of a run on standard error: a bar on a terminal, else a line every 15 seconds."""

import sys
import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 15.0


class ProgressDisplay:
    """Steps done, steps per second, last return, time left; on standard error."""

    def __init__(self, title: str, total_steps: int, first_step: int) -> None:
        self._console = Console(file=sys.stderr)
        self._title, self._total, self._first = title, total_steps, first_step
        self._first_update_s: float | None = None
        """Time of the first update. What comes before it is warm-up, which no later step takes again."""
        self._last_line, self._shown = 0.0, first_step
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        """Show the bar where there is a terminal."""
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[speed]} steps/s  return {task.fields[latest]}"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self._console)
            self._bar.start()
            self._bar.add_task(self._title, total=self._total, completed=self._first, speed="-", latest="-")
        return self

    def __exit__(self, *_error: object) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()

    def update(self, env_steps: int, latest_return: float | None) -> None:
        """Show the present step; see `sacpipe.training.loop.Progress`."""
        now = time.perf_counter()
        if self._first_update_s is None:
            self._first_update_s, self._first = now, env_steps
        elapsed_s = now - self._first_update_s
        speed = (env_steps - self._first) / elapsed_s if elapsed_s > 0 else 0.0
        shown_speed = f"{speed:.0f}" if speed > 0 else "-"
        latest = "-" if latest_return is None else f"{latest_return:.1f}"
        if self._bar is not None:
            task = self._bar.task_ids[0]
            self._bar.update(task, completed=env_steps, speed=shown_speed, latest=latest)
        elif now - self._last_line >= _SECONDS_BETWEEN_LINES or self._shown < env_steps == self._total:
            self._last_line, self._shown = now, env_steps
            left = f"{(self._total - env_steps) / speed:.0f}" if speed > 0 else "-"
            sys.stderr.write(
                f"{self._title}: step {env_steps:,} of {self._total:,}, {shown_speed} steps/s, "
                f"return {latest}, {left} s left\n"
            )
            sys.stderr.flush()
