"""One sealed file: its exact bytes, both forms, and what the reader refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import make_spec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pool_fixtures import with_camera
from safetensors.numpy import load, save

from sacpipe.core.errors import PoolCorruptError, PoolFormatError
from sacpipe.replay.pool.config import PoolFormat
from sacpipe.replay.pool.segments import encode_segment, read_segment, segment_name
from sacpipe.replay.pool.transitions import Transitions
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Transition

Walk = Callable[[int], list[Transition]]
Stack = Callable[[list[Transition]], Transitions]


LINE = make_spec(1, [(-1.0, 1.0)])
WATCHED_LINE = with_camera(LINE)


def states(spec: EnvSpec, values: list[float], pixels: list[int] | None = None) -> Observation:
    found = spec.layout.empty(len(values))
    found["state"][:, 0] = values
    for image in found.images.values():
        image[...] = np.reshape(values if pixels is None else pixels, (-1, 1, 1, 1))
    return found


def one_dimensional(observations: list[float], following: list[float], **columns: list[float]) -> Transitions:
    def column(name: str) -> np.ndarray:
        return np.array(columns.get(name, [0.0] * len(observations)), dtype=np.float32)

    return Transitions(
        observations=states(LINE, observations),
        actions=column("actions")[:, None],
        rewards=column("rewards"),
        next_observations=states(LINE, following),
        terminations=column("terminations"),
        truncations=column("truncations"),
        episode_ids=column("episode_ids").astype(np.int64),
    )


def same_bits(left: Transitions, right: Transitions) -> bool:
    pairs = [(array, right.arrays()[name]) for name, array in left.arrays().items()]
    return all(a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in pairs)


@pytest.fixture(params=["full", "compact"])
def form(request: pytest.FixtureRequest) -> PoolFormat:
    return request.param


def test_bytes_are_those_of_the_format_page() -> None:
    transitions = one_dimensional([1, 2], [2, 3], rewards=[5, 6], truncations=[0, 1], episode_ids=[7, 7])
    header = {
        "__metadata__": {"sacpipe.replay": '{"first_step":40,"format":"full","format_version":2}'},
        "episode_ids": {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]},
        "actions": {"dtype": "F32", "shape": [2, 1], "data_offsets": [16, 24]},
        "next_observations": {"dtype": "F32", "shape": [2, 1], "data_offsets": [24, 32]},
        "observations": {"dtype": "F32", "shape": [2, 1], "data_offsets": [32, 40]},
        "rewards": {"dtype": "F32", "shape": [2], "data_offsets": [40, 48]},
        "terminations": {"dtype": "F32", "shape": [2], "data_offsets": [48, 56]},
        "truncations": {"dtype": "F32", "shape": [2], "data_offsets": [56, 64]},
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    values = np.array([0, 0, 2, 3, 1, 2, 5, 6, 0, 0, 0, 1], dtype="<f4").tobytes()
    expected = len(text).to_bytes(8, "little") + text + np.array([7, 7], dtype="<i8").tobytes() + values
    assert encode_segment(transitions, first_step=40, form="full") == expected


def test_name_is_the_first_step() -> None:
    assert segment_name(12_000) == "segment-0000012000.safetensors"


def test_both_forms_give_back_every_bit(
    tmp_path: Path, form: PoolFormat, walk: Walk, stack: Stack, spec: EnvSpec
) -> None:
    for count in (1, 2, 3, 50):
        transitions = stack(walk(count))
        path = tmp_path / f"{count}.safetensors"
        path.write_bytes(encode_segment(transitions, first_step=0, form=form))
        assert same_bits(read_segment(path, spec), transitions)


def test_compact_keeps_a_next_observation_only_where_the_next_row_does_not_repeat_it() -> None:
    transitions = one_dimensional(
        observations=[1, 2, 3, 10, 11, 20, 21, 30],
        following=[2, 3, 10, 11, 12, 21, 30, 31],  # rows 2 and 6 end where the next episode happens to begin
        terminations=[0, 0, 1, 0, 0, 0, 0, 0],
        truncations=[0, 0, 0, 0, 0, 0, 1, 0],
        episode_ids=[0, 0, 0, 1, 1, 2, 2, 3],  # row 4 breaks off without an end
    )
    tensors = load(encode_segment(transitions, first_step=0, form="compact"))
    assert tensors["next_observation_rows"].tolist() == [2, 4, 6, 7]
    assert tensors["next_observations"].ravel().tolist() == [10, 12, 30, 31]


def test_compact_tells_minus_zero_from_zero(tmp_path: Path) -> None:
    transitions = one_dimensional([1, 0.0], [-0.0, 2])
    path = tmp_path / "segment"
    path.write_bytes(encode_segment(transitions, first_step=0, form="compact"))
    assert np.signbit(read_segment(path, LINE).next_observations.vector[0, 0])


@pytest.mark.slow
@settings(max_examples=50)
@given(data=st.data(), count=st.integers(1, 12))
def test_compact_gives_back_any_bits_at_all(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, count: int
) -> None:
    def any_floats(*shape: int) -> np.ndarray:
        words = hnp.arrays(
            np.uint32, shape, elements=st.sampled_from([0, 1, 0x80000000, 0x7FC00001, 0x3F800000])
        )
        return data.draw(words).view(np.float32)

    def any_observations() -> Observation:
        pixels = hnp.arrays(np.uint8, (count, 2, 3, 3), elements=st.integers(0, 1))
        return Observation(WATCHED_LINE.layout, any_floats(count, 1), {"camera": data.draw(pixels)})

    transitions = Transitions(
        observations=any_observations(),
        actions=any_floats(count, 1),
        rewards=any_floats(count),
        next_observations=any_observations(),
        terminations=data.draw(hnp.arrays(np.float32, count, elements=st.sampled_from([0.0, 1.0]))),
        truncations=data.draw(hnp.arrays(np.float32, count, elements=st.sampled_from([0.0, 1.0]))),
        episode_ids=data.draw(hnp.arrays(np.int64, count)),
    )
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    for form in ("full", "compact"):
        path.write_bytes(encode_segment(transitions, first_step=0, form=form))
        assert same_bits(read_segment(path, WATCHED_LINE), transitions)


def test_next_images_are_stored_once_in_both_forms(form: PoolFormat) -> None:
    transitions = Transitions(
        observations=states(WATCHED_LINE, [1, 2, 3, 4], [1, 2, 3, 4]),
        actions=np.zeros((4, 1), dtype=np.float32),
        rewards=np.zeros(4, dtype=np.float32),
        next_observations=states(WATCHED_LINE, [2, 9, 4, 5], [2, 3, 4, 5]),
        terminations=np.array([0, 0, 1, 0], dtype=np.float32),
        truncations=np.zeros(4, dtype=np.float32),
        episode_ids=np.array([0, 0, 0, 1]),
    )
    tensors = load(encode_segment(transitions, first_step=0, form=form))
    assert tensors["next_image_rows"].tolist() == [2, 3]
    assert tensors["next_observations/camera"][:, 0, 0, 0].tolist() == [4, 5]
    if form == "compact":
        assert tensors["next_observation_rows"].tolist() == [1, 2, 3]  # each kind has rows of its own


def test_same_transitions_give_the_same_bytes(form: PoolFormat, walk: Walk, stack: Stack) -> None:
    transitions = stack(walk(30))
    layout = transitions.observations.layout
    strided = Transitions.of_arrays(
        layout, {name: np.repeat(array, 2, axis=0)[::2] for name, array in transitions.arrays().items()}
    )
    expected = encode_segment(transitions, first_step=0, form=form)
    assert encode_segment(strided, first_step=0, form=form) == expected


def test_compact_is_smaller(walk: Walk, stack: Stack) -> None:
    transitions = stack(walk(500))
    sizes = [len(encode_segment(transitions, first_step=0, form=form)) for form in ("full", "compact")]
    assert sizes[1] < sizes[0] - 500 * 4  # of 12 bytes a next vector, and 8 for each that is kept


def test_torn_file_is_found_at_any_length(
    tmp_path: Path, form: PoolFormat, walk: Walk, stack: Stack, spec: EnvSpec
) -> None:
    data = encode_segment(stack(walk(5)), first_step=0, form=form)
    path = tmp_path / "segment"
    for length in range(0, len(data), 23):
        path.write_bytes(data[:length])
        with pytest.raises(PoolCorruptError, match=f"{path}: expected a complete segment, found"):
            read_segment(path, spec)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PoolCorruptError, match=r"segment: expected a sealed segment, found no file.*dvc"):
        read_segment(tmp_path / "segment", LINE)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "found a safetensors file without 'sacpipe.replay'"),
        ({"sacpipe.replay": "no json"}, "found a safetensors file without"),
        (
            {"sacpipe.replay": '{"format":"full","format_version":3}'},
            "expected segment version 2.*found version 3",
        ),
        (
            {"sacpipe.replay": '{"format":"tiny","format_version":2}'},
            "full or compact; found version 2, 'tiny'",
        ),
        (
            {"sacpipe.replay": '{"format":"full","format_version":2}'},
            r"expected the tensors.*found \['other'\]",
        ),
    ],
)
def test_what_is_not_known_is_refused(tmp_path: Path, metadata: dict[str, str] | None, message: str) -> None:
    path = tmp_path / "segment"
    path.write_bytes(save({"other": np.zeros(1, dtype=np.float32)}, metadata=metadata))
    with pytest.raises(PoolFormatError, match=message):
        read_segment(path, LINE)


@pytest.mark.parametrize(
    "rows", [[0], [0, 0, 1], [1, 0, 2], [-1, 1, 2], [0, 1, 3], [0.0, 1.0, 2.0], [[0, 1, 2]], []]
)
def test_compact_rows_that_contradict_are_refused(tmp_path: Path, rows: list[Any]) -> None:
    transitions = one_dimensional([1, 2, 3], [5, 6, 7])  # each next observation is kept: rows 0, 1, 2
    tensors = load(encode_segment(transitions, first_step=0, form="compact"))
    tensors["next_observation_rows"] = np.array(rows) if rows else np.empty(0, dtype=np.int64)
    header = '{"first_step":0,"format":"compact","format_version":2}'
    path = tmp_path / "segment"
    path.write_bytes(save(tensors, metadata={"sacpipe.replay": header}))
    with pytest.raises(
        PoolCorruptError, match="expected next_observation_rows as increasing numbers up to the last row, 2"
    ):
        read_segment(path, LINE)


@pytest.mark.parametrize("rows", [[0], [1, 1, 2], [0, 1, 3]])
def test_image_rows_that_contradict_are_refused(tmp_path: Path, rows: list[int], form: PoolFormat) -> None:
    nothing = np.zeros(3, dtype=np.float32)
    transitions = Transitions(
        states(WATCHED_LINE, [1, 2, 3]),
        nothing[:, None],
        nothing,
        states(WATCHED_LINE, [5, 6, 7]),
        nothing,
        nothing,
        np.zeros(3, dtype=np.int64),
    )
    tensors = load(encode_segment(transitions, first_step=0, form=form))
    tensors["next_image_rows"] = np.array(rows)
    header = f'{{"first_step":0,"format":"{form}","format_version":2}}'
    path = tmp_path / "segment"
    path.write_bytes(save(tensors, metadata={"sacpipe.replay": header}))
    with pytest.raises(PoolCorruptError, match="expected next_image_rows as increasing numbers"):
        read_segment(path, WATCHED_LINE)
