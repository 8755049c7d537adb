"""Records one episode off screen as an H.264 video for any browser; the same frames give the same bytes.

Frames go through a pipe, one at a time, to the ffmpeg of the imageio-ffmpeg wheel.
"""

import contextlib
import itertools
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.errors import RendererError, StorageError
from sacpipe.core.files import storage_errors, write_bytes, write_text
from sacpipe.envs.base import Environment, Policy, TaskSection
from sacpipe.specs.env_spec import EnvSpec

VIDEO_NAME = "episode.mp4"
NO_VIDEO_NAME = "WHY_NO_VIDEO.txt"
"""Name of the text file that is written instead of a video, with the reason."""


class VideoConfig(Config):
    """`evaluation.video` in params.yaml."""

    height: int = Field(ge=16, le=2160, multiple_of=2)
    """Height in pixels; even, because browsers need H.264 with even sizes."""
    width: int = Field(ge=16, le=3840, multiple_of=2)
    """Width in pixels; even."""
    frames_per_s: float = Field(ge=0.01, le=120.0)
    """Approximate frame rate; the video runs in real time. A task with a faster clock shows every second
    step, or every third, ..."""
    max_s: float = Field(gt=0.0)
    """Longest video, in seconds of the task's time."""


def record_episode(policy: Policy, task: TaskSection, seed: int, config: VideoConfig, folder: Path) -> Path:
    """Run one episode and write `episode.mp4` in real time, or `WHY_NO_VIDEO.txt` without a renderer.

    Args:
        policy: Maps an observation to an action in [-1, 1].
        task: Section to build the environment from.
        seed: Seed to reset the environment with.
        config: Size, frame rate and length of the video.
        folder: Folder for one of the two files; made if it is missing.

    Returns:
        The file that was written.

    Raises:
        StorageError: ffmpeg failed, or the folder cannot be written.
        SimulatorError: the task raised an error, or returned a value that its specification excludes.
        ContractError: an action of the policy has the wrong shape or is not finite.
    """
    try:
        encoder = _find_encoder()
        environment = task.make(render_size=(config.height, config.width))
        with contextlib.closing(environment):
            stride, rate = frame_rate(environment.spec, config.frames_per_s)
            frames = _render_episode(policy, environment, seed, stride)
            num_frames = max(1, int(rate * Fraction(config.max_s)))
            video = _encode(encoder, itertools.islice(frames, num_frames), config, rate)
    except RendererError as exc:
        return write_no_video(task, folder, str(exc))
    (folder / NO_VIDEO_NAME).unlink(missing_ok=True)
    write_bytes(folder / VIDEO_NAME, video)
    return folder / VIDEO_NAME


def write_no_video(task: TaskSection, folder: Path, reason: str) -> Path:
    """Write `WHY_NO_VIDEO.txt` with a reason, remove an older video, and return the file.

    Raises:
        StorageError: the folder cannot be written.
    """
    with storage_errors(folder):
        (folder / VIDEO_NAME).unlink(missing_ok=True)
    write_text(folder / NO_VIDEO_NAME, f"No video of task '{task.name}': {reason}\n")
    return folder / NO_VIDEO_NAME


def frame_rate(spec: EnvSpec, frames_per_s: float) -> tuple[int, Fraction]:
    """Return the number of steps per frame, and the frames per second for a video in real time.

    For a task without a clock, every step is a frame, at `frames_per_s`.
    """
    if spec.control_period_s is None:
        return 1, Fraction(frames_per_s).limit_denominator(1000)
    steps_per_s = 1 / Fraction(spec.control_period_s).limit_denominator(1_000_000)
    stride = max(1, round(steps_per_s / Fraction(frames_per_s)))
    return stride, steps_per_s / stride


def _render_episode(
    policy: Policy, environment: Environment, seed: int, stride: int
) -> Iterator[NDArray[np.uint8]]:
    """Run one episode; yield an image of its start, of every `stride`-th step and of its end."""
    observation = environment.reset(seed)
    yield environment.render()
    for number in itertools.count(1):
        step = environment.step(policy(observation))
        observation, ended = step.observation, step.terminated or step.truncated
        if ended or number % stride == 0:
            yield environment.render()
        if ended:
            return


def _find_encoder() -> str:
    """Return the path of ffmpeg.

    Raises:
        RendererError: this machine has none.
    """
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as exc:
        raise RendererError(f"no video encoder is here; install the package imageio-ffmpeg ({exc}).") from exc


def _encode(encoder: str, frames: Iterable[NDArray[np.uint8]], config: VideoConfig, rate: Fraction) -> bytes:
    """Pipe frames through ffmpeg.

    Raises:
        StorageError: ffmpeg cannot be started or failed; carries its last line.
    """
    with tempfile.TemporaryDirectory() as temporary:
        target, messages = Path(temporary) / VIDEO_NAME, Path(temporary) / "messages"
        command = _command(encoder, config, rate, target)
        with messages.open("wb") as log:
            try:
                process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
            except OSError as exc:
                raise StorageError(f"cannot start the video encoder {encoder}: {exc}.") from exc
            code = _feed(process, frames)
        if code != 0 or not target.exists():
            lines = messages.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            message = lines[-1] if lines else "(no message)"
            raise StorageError(f"cannot write {VIDEO_NAME}: ffmpeg ended with code {code}: {message}")
        return target.read_bytes()


def _feed(process: "subprocess.Popen[bytes]", frames: Iterable[NDArray[np.uint8]]) -> int:
    """Write every frame and return ffmpeg's exit code; an error of a frame stops ffmpeg and is raised."""
    with contextlib.suppress(BrokenPipeError), process:  # ffmpeg ended early; its exit code says why
        pipe = process.stdin
        try:
            for frame in frames:
                pipe.write(frame.tobytes())  # type: ignore[union-attr]
                pipe.flush()  # type: ignore[union-attr]  # so that closing has nothing left to write
        except BaseException:
            process.kill()
            raise
    return process.wait()


def _command(encoder: str, config: VideoConfig, rate: Fraction, target: Path) -> list[str]:
    """Return ffmpeg's command line; with one thread and `bitexact`, the same frames give the same bytes."""
    source = f"-f rawvideo -pix_fmt rgb24 -s {config.width}x{config.height} -framerate {rate} -i -"
    codec = "-an -c:v libx264 -preset medium -crf 23 -pix_fmt yuv420p -threads 1"
    exact = "-sws_flags +accurate_rnd+bitexact -flags:v +bitexact -fflags +bitexact -map_metadata -1"
    options = f"-y -nostdin -loglevel error {source} {codec} {exact} -movflags +faststart -f mp4"
    return [encoder, *options.split(), str(target)]
