"""The video of one evaluation episode, or the reason why there is none."""

import base64

from sacpipe.evaluation.video import NO_VIDEO_NAME, VIDEO_NAME
from sacpipe.report.outputs import Outputs
from sacpipe.report.section import Section


def build(outputs: Outputs) -> Section:
    """Return the section; the page has the whole video."""
    video, reason = (outputs.workspace.video / name for name in (VIDEO_NAME, NO_VIDEO_NAME))
    values = {
        "video": base64.b64encode(video.read_bytes()).decode() if video.is_file() else None,
        "reason": reason.read_text(encoding="utf-8").strip()
        if reason.is_file()
        else "No video was recorded.",
        "task": outputs.task,
    }
    return Section("Video", "video.html", values)
