"""Videos play in real time and are the same bytes for the same frames; without one, a text file has the reason."""

import subprocess
from fractions import Fraction

import imageio_ffmpeg
import numpy as np
import pytest
from factories import make_point_mass, make_spec

from sacpipe.core.errors import ConfigError, ContractError, StorageError
from sacpipe.envs import find_task
from sacpipe.evaluation.video import VideoConfig, frame_rate, record_episode

SMALL = {"height": 64, "width": 96, "frames_per_s": 30.0, "max_s": 60.0}


def config(**changes):
    return VideoConfig.parse(SMALL | changes)


def toy(**options):
    return make_point_mass(**options)


def rest(observation):
    del observation
    return np.zeros(2, dtype=np.float32)


def push(observation):
    del observation
    return np.array([1.0, 0.5], dtype=np.float32)


def decode(path):
    """Return ffmpeg's description of a video, and its frames as arrays."""
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    description = subprocess.run(
        [ffmpeg, "-i", str(path)], capture_output=True, text=True, check=False
    ).stderr
    command = [ffmpeg, "-loglevel", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return description, np.frombuffer(raw, dtype=np.uint8).reshape(-1, 64, 96, 3)


def test_video_is_h264_in_real_time_with_every_step(tmp_path):
    path = record_episode(rest, toy(), 0, config(), tmp_path / "video")
    assert path == tmp_path / "video" / "episode.mp4"
    description, frames = decode(path)
    assert "h264" in description
    assert "yuv420p" in description
    assert "10 fps" in description  # a step of the point mass is 0.1 s
    assert len(frames) == 51  # the start and 50 steps


def test_video_shows_what_the_task_draws(tmp_path):
    environment = toy().make(render_size=(64, 96))
    environment.reset(4)
    for _ in range(10):
        environment.step(push(None))
    expected = environment.render().astype(int)
    _, frames = decode(record_episode(push, toy(), 4, config(), tmp_path))
    assert np.abs(frames[10].astype(int) - expected).mean() < 4.0
    assert np.abs(frames[0].astype(int) - expected).mean() > 1.0


def test_same_frames_are_the_same_bytes(tmp_path):
    videos = [record_episode(push, toy(), 2, config(), tmp_path / name).read_bytes() for name in "ab"]
    other = record_episode(push, toy(), 3, config(), tmp_path / "c").read_bytes()
    assert videos[0] == videos[1]
    assert videos[0] != other
    assert str(tmp_path).encode() not in videos[0]


def test_video_is_cut_at_its_longest(tmp_path):
    _, frames = decode(record_episode(rest, toy(), 0, config(max_s=1.5), tmp_path))
    assert len(frames) == 15


def test_video_of_less_than_a_frame_has_one(tmp_path):
    _, frames = decode(record_episode(rest, toy(), 0, config(max_s=0.001), tmp_path))
    assert len(frames) == 1


def test_slow_video_skips_steps_and_keeps_the_last(tmp_path):
    _, frames = decode(record_episode(rest, toy(max_episode_steps=7), 0, config(frames_per_s=5.0), tmp_path))
    assert len(frames) == 5  # the start, steps 2, 4, 6 and the last, 7


@pytest.mark.parametrize(
    ("period_s", "frames_per_s", "expected"),
    [
        (0.05, 30.0, (1, Fraction(20))),
        (0.01, 30.0, (3, Fraction(100, 3))),
        (0.008, 30.0, (4, Fraction(125, 4))),
        (0.002, 25.0, (20, Fraction(25))),
        (1.0, 30.0, (1, Fraction(1))),
        (0.015, 30.0, (2, Fraction(100, 3))),
        (None, 12.5, (1, Fraction(25, 2))),
    ],
)
def test_speed_is_real_time_at_about_the_wanted_rate(period_s, frames_per_s, expected):
    spec = make_spec(control_period_s=period_s)
    assert frame_rate(spec, frames_per_s) == expected


def test_no_renderer_leaves_a_text_file_instead_of_a_video(tmp_path, monkeypatch):
    (tmp_path / "episode.mp4").write_bytes(b"of another run")
    monkeypatch.setenv("MUJOCO_GL", "disabled")
    task = find_task("gymnasium/InvertedPendulum-v5")
    path = record_episode(lambda _: np.zeros(1), task, 0, config(), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["WHY_NO_VIDEO.txt"]
    assert path.read_text() == (
        "No video of task 'gymnasium/InvertedPendulum-v5':"
        " rendering is switched off here by MUJOCO_GL=disabled;"
        " unset it, and an off-screen renderer is looked for.\n"
    )


def test_video_replaces_the_text_file(tmp_path):
    (tmp_path / "WHY_NO_VIDEO.txt").write_text("yesterday")
    record_episode(rest, toy(), 0, config(max_s=0.5), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["episode.mp4"]


@pytest.mark.slow
def test_video_of_a_mujoco_task_or_its_text_file_is_the_same_twice(tmp_path):
    task = find_task("gymnasium/InvertedPendulum-v5")
    paths = [
        record_episode(lambda _: np.full(1, 0.1), task, 0, config(max_s=0.5), tmp_path / name)
        for name in "ab"
    ]
    assert paths[0].name in {"episode.mp4", "WHY_NO_VIDEO.txt"}
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("does", ["", "cat > /dev/null\n", 'for target; do :; done; cat > "$target"\n'])
def test_ffmpeg_that_fails_is_quoted(tmp_path, monkeypatch, does):
    """It ends before it has read a frame, after all of them, or even after it has written something."""
    script = tmp_path / "ffmpeg"
    script.write_text(f"#!/bin/sh\n{does}echo starting >&2\necho 'Unknown encoder' >&2\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(script))
    with pytest.raises(StorageError, match="ffmpeg ended with code 3: Unknown encoder"):
        record_episode(rest, toy(), 0, config(height=480, width=640), tmp_path / "video")
    assert not (tmp_path / "video").exists()


def test_ffmpeg_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
    with pytest.raises(StorageError, match=r"cannot start the video encoder .*/none"):
        record_episode(rest, toy(), 0, config(), tmp_path / "video")


def test_policy_that_fails_leaves_no_video(tmp_path):
    def policy(observation):
        return np.zeros(2) if observation["velocity"][0] == 0.0 else np.array([np.nan, 0.0])

    def broken(observation):
        return policy(observation) + 1.0

    with pytest.raises(ContractError, match="step 2: expected a finite action"):
        record_episode(broken, toy(), 0, config(), tmp_path / "video")
    assert not (tmp_path / "video").exists()


@pytest.mark.parametrize("change", [{"height": 63}, {"width": 101}, {"max_s": 0.0}, {"frames_per_s": 0.0}])
def test_section_refuses_what_no_browser_plays(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        config(**change)
