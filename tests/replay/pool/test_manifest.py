"""manifest.json: what a reader refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sacpipe.core.errors import PoolCorruptError, PoolFormatError
from sacpipe.core.files import sha256_file
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.specs.records import Transition

Walk = Callable[..., list[Transition]]
Write = Callable[..., Path]


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "manifest.json"
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format_version=3), "expected format_version 2, found 3.*later one"),
        (lambda m: m.pop("format_version"), "expected format_version 2, found None"),
        (lambda m: m.update(format="tiny"), "format: .*'full' or 'compact', found 'tiny'"),
        (lambda m: m.update(colour="red"), "colour: unknown key"),
        (lambda m: m.update(transitions=12), "transitions must be the sum over the segments"),
        (lambda m: m["segments"].reverse(), "must begin where .* ends"),
        (lambda m: m["segments"].pop(1), "must begin where .* ends"),
        (lambda m: m["segments"][0].update(file="../segment-0000000000.safetensors"), "segments.0.file"),
        (
            lambda m: m["segments"][0].update(file="segment-0000000001.safetensors"),
            "named by its first_step 0",
        ),
        (
            lambda m: m["spec"]["observation"][0].update(shape=[4]),
            "transition_fields must be those of the spec",
        ),
        (
            lambda m: m["observation_columns"].update(state=[0, 2]),
            "observation_columns must be those of the spec",
        ),
        (lambda m: m["observation_columns"].clear(), "observation_columns must be those of the spec"),
        (lambda m: m["transition_fields"][0].update(dtype="float64"), "transition_fields.0.dtype"),
    ],
)
def test_unknown_or_contradicting_manifest_is_refused(
    write: Write, walk: Walk, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    folder = write(walk(11))
    edit_manifest(folder, change)
    with pytest.raises(PoolFormatError, match=f"manifest.json: .*{message}"):
        ReplayPool.open(folder)


def test_segment_of_another_shape_than_the_manifest_says_is_refused(write: Write, walk: Walk) -> None:
    folder, other = write(walk(11)), write(walk(11), size=3, name="other")

    def exchange(manifest: dict[str, Any]) -> None:
        path = folder / "segment-0000000000.safetensors"
        path.unlink()
        path.write_bytes((other / path.name).read_bytes())
        manifest["segments"][0] |= {"size_bytes": path.stat().st_size, "sha256": sha256_file(path)}

    edit_manifest(folder, exchange)
    with pytest.raises(
        PoolCorruptError, match=r"expected observations as float32\(4, 3\), found float32\(3, 3\)"
    ):
        ReplayPool.open(folder).check()
