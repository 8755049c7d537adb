"""The progress line: its speed is that of the steps, without the warm-up before the first one."""

import re

from sacpipe.training import progress_display
from sacpipe.training.progress_display import ProgressDisplay


def test_the_warm_up_is_no_part_of_the_speed(capsys, monkeypatch):
    now = iter([60.0, 62.0])
    monkeypatch.setattr(progress_display.time, "perf_counter", lambda: next(now))
    with ProgressDisplay("train", total_steps=300, first_step=0) as display:
        display.update(100, None)
        display.update(300, 1.5)
    first, last = capsys.readouterr().err.splitlines()
    assert re.search(r"step 100 of 300, - steps/s, return -, - s left", first)
    assert re.search(r"step 300 of 300, 100 steps/s, return 1\.5, 0 s left", last)
