"""golden.npz is read into exactly what the contract announces, or refused."""

import io
import zipfile

import numpy as np
import pytest
from bundle_factories import make_golden, make_spec, term_tree

from sacpipe.bundle.golden import Golden, golden_bytes, pack_golden, read_golden
from sacpipe.core.errors import BundleError
from sacpipe.specs.observation import Observation

SPEC = make_spec(
    observation=[
        term_tree("state", 2),
        term_tree("camera", 2, 2, 1, dtype="uint8"),
        term_tree("joint/angle (°)"),
    ],
    action=[{"name": "gripper", "unit": "N", "low": -1.0, "high": 1.0}],
)
STATES = np.array([[0.5, 0.25], [3.0, 1.0], [0.0, 9.0]], np.float32)
IMAGES = np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1)
ANGLES = np.array([7.0, 8.0, 9.0], np.float32)
ARRAYS = {"state": STATES, "camera": IMAGES, "joint/angle (°)": ANGLES}
ACTIONS = np.array([[0.25], [1.0], [-1.0]], np.float32)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npz(compression=zipfile.ZIP_STORED, **entries) -> bytes:
    """Return an archive of the right arrays, changed or with None left out."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        right = {f"observation.{name}": array for name, array in ARRAYS.items()} | {"actions": ACTIONS}
        for name, entry in (right | entries).items():
            if entry is not None:
                archive.writestr(f"{name}.npy", entry if isinstance(entry, bytes) else npy(entry))
    return buffer.getvalue()


def encrypted(archive: bytes) -> bytes:
    """Return an archive whose headers state that its entries are encrypted."""
    data = bytearray(archive)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.find(signature)
        while start >= 0:
            data[start + offset] |= 1
            start = data.find(signature, start + 1)
    return bytes(data)


def with_entry(array: np.ndarray, index: int, value: float) -> np.ndarray:
    changed = array.copy()
    changed.flat[index] = value
    return changed


def state(array):
    return {"observation.state": array}


def test_comes_back_bit_for_bit():
    golden = make_golden(SPEC, ARRAYS, ACTIONS)
    again = read_golden(pack_golden(golden), SPEC, 3)
    assert again.observations.equals(golden.observations)
    np.testing.assert_array_equal(again.actions, ACTIONS)
    assert again.noise is None


def test_noise_comes_back_too():
    golden = make_golden(SPEC, ARRAYS, ACTIONS, noise=[[0.5, -1.0], [0.0, 2.0], [3.0, 4.0]])
    again = read_golden(pack_golden(golden), SPEC, 3, noise_dim=2)
    np.testing.assert_array_equal(again.noise, golden.noise)


def test_numpy_reads_one_array_a_term():
    data = pack_golden(make_golden(SPEC, ARRAYS, ACTIONS))
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        assert sorted(archive) == sorted(["actions", *(f"observation.{name}" for name in ARRAYS)])
        for name, array in ARRAYS.items():
            found = archive[f"observation.{name}"]
            np.testing.assert_array_equal(found, array)
            assert (found.dtype, found.shape) == (array.dtype, array.shape)


def test_bytes_do_not_depend_on_the_memory_layout_of_the_arrays():
    golden = make_golden(SPEC, ARRAYS, ACTIONS)
    packed = golden.observations
    other = Observation(
        packed.layout, np.asfortranarray(packed.vector), {"camera": np.asfortranarray(IMAGES)}
    )
    assert pack_golden(Golden(other, golden.actions)) == pack_golden(golden)


def test_the_size_of_the_arrays_is_known_before():
    assert golden_bytes(SPEC, 3, None) == 3 * (2 * 4 + 4 + 4 + 4)
    assert golden_bytes(SPEC, 3, 5) == 3 * (2 * 4 + 4 + 4 + 4 + 5 * 4)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            npz(actions=np.zeros((4, 1), np.float32)),
            r"actions: expected float32 \(3, 1\), found float32 \(4, 1\)",
        ),
        (
            npz(**state(np.zeros((3, 2)))),
            r"observation.state: expected float32 \(3, 2\), found float64 \(3, 2\)",
        ),
        (npz(actions=np.zeros((3, 1), ">f4")), r"actions: expected float32 \(3, 1\), found >f4"),
        (npz(**state(np.zeros((2, 3), np.float32).T)), r"observation.state: expected float32 \(3, 2\)"),
        (npz(actions=np.array([["a"], [1], [None]], object)), r"actions: expected float32 .*found object"),
        (
            npz(actions=with_entry(ACTIONS, 1, np.nan)),
            "actions: expected finite numbers, found NaN or infinity",
        ),
        (npz(**state(with_entry(STATES, 5, np.inf))), "observation.state: expected finite numbers"),
        (npz(**{"observation.camera": IMAGES.astype(np.int8)}), r"expected uint8 \(3, 2, 2, 1\), found int8"),
        (npz(noise=np.zeros((3, 1), np.float32)), r"found actions\.npy, noise\.npy, observation"),
        (npz(actions=with_entry(ACTIONS, 0, 1.5)), "actions: expected each within its term's low and high"),
        (npz(rewards=np.zeros(3)), r"found actions\.npy, .*observation\.state\.npy, rewards\.npy"),
        (npz(**state(None)), r"expected actions\.npy, .*observation\.state\.npy, found actions\.npy, "),
        (npz(zipfile.ZIP_DEFLATED), "observation.state: expected an uncompressed entry"),
        (npz(actions=npy(ACTIONS)[:-4]), "actions: expected 3 numbers, found another number"),
        (npz(actions=npy(ACTIONS)[:-1]), "expected an archive of arrays"),
        (
            npz(actions=b"\x93NUMPY\x02\x00" + npy(ACTIONS)[8:]),
            r"expected version \(1, 0\) of the npy format",
        ),
        (npz(actions=b"no array"), "expected an archive of arrays"),
        (
            npz().replace(b"\x00\x00\x00\x3f", b"\x00\x00\x80\x3f", 1),
            "expected an archive of arrays, found Bad CRC",
        ),
        (encrypted(npz()), "expected an archive of arrays, found .*encrypted"),
        (npz()[:-30], "expected an archive of arrays"),
        (b"", "expected at least 60 bytes, found 0"),
    ],
)
def test_is_refused(data, sentence):
    with pytest.raises(BundleError, match=rf"golden\.npz: .*{sentence}|golden\.npz: {sentence}"):
        read_golden(data, SPEC, 3)


def test_a_header_that_announces_terabytes_allocates_nothing():
    announced = b"(9999999999999, 1), }"
    actions = npy(ACTIONS).replace(b"(3, 1), }".ljust(len(announced)), announced)
    with pytest.raises(BundleError, match=r"expected float32 \(3, 1\), found float32 \(9999999999999, 1\)"):
        read_golden(npz(actions=actions), SPEC, 3)


def test_a_contract_of_terabytes_reads_nothing():
    with pytest.raises(BundleError, match=r"golden.npz: expected at least \d+ bytes, found"):
        read_golden(npz(), make_spec(10**6), 10_000)
