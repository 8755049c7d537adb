"""golden.npz is read into exactly what the contract announces, or refused."""

import io
import zipfile

import numpy as np
import pytest

from sacpipe.bundle.golden import Golden, pack_golden, read_golden
from sacpipe.core.errors import BundleError

OBSERVATIONS = np.array([[0.5, 0.25], [3.0, 1.0], [0.0, 9.0]], np.float32)
ACTIONS = np.array([[0.25], [1.0], [-1.0]], np.float32)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npz(compression=zipfile.ZIP_STORED, **entries) -> bytes:
    """Return an archive of the right arrays, changed or with None left out."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, entry in ({"observations": OBSERVATIONS, "actions": ACTIONS} | entries).items():
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


@pytest.fixture(scope="module")
def spec(make_contract):
    """Two observations, one action in [-1, 1]."""
    return make_contract().spec


def test_comes_back_bit_for_bit(spec):
    golden = read_golden(pack_golden(Golden(OBSERVATIONS, ACTIONS)), spec, 3)
    np.testing.assert_array_equal(golden.observations, OBSERVATIONS)
    np.testing.assert_array_equal(golden.actions, ACTIONS)


def test_numpy_reads_it_too():
    with np.load(io.BytesIO(pack_golden(Golden(OBSERVATIONS, ACTIONS))), allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["observations"], OBSERVATIONS)
        np.testing.assert_array_equal(archive["actions"], ACTIONS)


def test_bytes_do_not_depend_on_the_memory_layout_of_the_arrays():
    expected = pack_golden(Golden(OBSERVATIONS, ACTIONS))
    assert pack_golden(Golden(np.asfortranarray(OBSERVATIONS), ACTIONS)) == expected


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            npz(actions=np.zeros((4, 1), np.float32)),
            r"actions: expected float32 \(3, 1\), found float32 \(4, 1\)",
        ),
        (
            npz(observations=np.zeros((3, 2))),
            r"observations: expected float32 \(3, 2\), found float64 \(3, 2\)",
        ),
        (npz(actions=np.zeros((3, 1), ">f4")), r"actions: expected float32 \(3, 1\), found >f4"),
        (npz(observations=np.zeros((2, 3), np.float32).T), r"observations: expected float32 \(3, 2\)"),
        (npz(actions=np.array([["a"], [1], [None]], object)), r"actions: expected float32 .*found object"),
        (
            npz(actions=with_entry(ACTIONS, 1, np.nan)),
            "actions: expected finite numbers, found NaN or infinity",
        ),
        (npz(observations=with_entry(OBSERVATIONS, 5, np.inf)), "observations: expected finite numbers"),
        (npz(actions=with_entry(ACTIONS, 0, 1.5)), "actions: expected each within its term's low and high"),
        (npz(rewards=np.zeros(3)), r"found actions\.npy, observations\.npy, rewards\.npy"),
        (npz(observations=None), r"expected actions\.npy and observations\.npy, found actions\.npy\."),
        (npz(zipfile.ZIP_DEFLATED), "observations: expected an uncompressed entry"),
        (npz(actions=npy(ACTIONS)[:-4]), "actions: expected 3 numbers, found 2"),
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
        (b"", "expected an archive of arrays"),
    ],
)
def test_is_refused(spec, data, sentence):
    with pytest.raises(BundleError, match=rf"golden\.npz: .*{sentence}|golden\.npz: {sentence}"):
        read_golden(data, spec, 3)


def test_a_header_that_announces_terabytes_allocates_nothing(spec):
    announced = b"(9999999999999, 1), }"
    actions = npy(ACTIONS).replace(b"(3, 1), }".ljust(len(announced)), announced)
    with pytest.raises(BundleError, match=r"expected float32 \(3, 1\), found float32 \(9999999999999, 1\)"):
        read_golden(npz(actions=actions), spec, 3)
