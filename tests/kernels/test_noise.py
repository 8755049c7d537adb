"""The kernels' normal numbers against Philox 4x32-10 and Box & Muller's transform in float64."""

import numpy as np
import pytest
from panel_layout import call

from sacpipe.kernels.perceptron import padded

ALL = 0xFFFFFFFF


def philox(counter, key):
    """Salmon et al. 2011, section 2.2: the words of one counter."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        a, b = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (b >> 32) ^ c1 ^ k0, b & ALL, (a >> 32) ^ c3 ^ k1, a & ALL
        k0, k1 = (k0 + 0x9E3779B9) & ALL, (k1 + 0xBB67AE85) & ALL
    return c0, c1, c2, c3


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ALL,) * 4, (ALL, ALL), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_the_reference_has_the_known_answers(counter, key, words):
    """The file kat_vectors of the authors' library Random123."""
    assert philox(counter, key) == words


def draw(key, rows, columns):
    numbers = np.zeros((padded(rows), columns), dtype=np.float32)
    call("noise", key=np.array(key, dtype=np.uint32), output=numbers, rows=rows, columns=columns)
    return numbers


def normal_pairs(first, second):
    """Box & Muller 1958, of the upper 24 bits of two words."""
    radius = np.sqrt(-2.0 * np.log((first >> 8) * 2.0**-24 + 2.0**-25))
    angle = 2.0 * np.pi * (second >> 8) * 2.0**-24
    return radius * np.cos(angle), radius * np.sin(angle)


@pytest.mark.parametrize("key", [(0, 0), (0x243F6A88, 0x85A308D3)])
@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (8, 1), (24, 3), (13, 17), (40, 21)])
def test_every_number_by_philox_and_box_muller(key, rows, columns):
    """Eight rows take whole counters: sixteen counters give 64 numbers, a word of each counter after the other."""
    count = 8 * columns
    calls = -(-count // 64)
    expected = []
    for unit in range(padded(rows) // 8):
        numbers = []
        for number in range(calls):
            counters = [(unit * calls + number) * 16 + lane for lane in range(16)]
            words = np.array([philox((c, 0, 0, 0), key) for c in counters], dtype=np.int64).T
            for pair in (words[:2], words[2:]):
                numbers += [*normal_pairs(*pair)]
        expected.append(np.concatenate(numbers)[:count])
    np.testing.assert_allclose(
        draw(key, rows, columns).ravel(), np.concatenate(expected), rtol=2e-6, atol=2e-6
    )


def test_the_distribution_is_normal():
    """A million numbers; each bound is five standard errors of its statistic."""
    count = 1_000_000
    numbers = draw((5, 6), count // 4, 4).ravel().astype(np.float64)
    root = np.sqrt(count)
    assert abs(numbers.mean()) < 5.0 / root
    assert abs(numbers.var() - 1.0) < 5.0 * np.sqrt(2.0) / root
    assert abs((numbers**3).mean()) < 5.0 * np.sqrt(15.0) / root
    assert abs((numbers**4).mean() - 3.0) < 5.0 * np.sqrt(96.0) / root
    for distance in (1, 2, 4, 16, 32, 64):
        assert abs((numbers[distance:] * numbers[:-distance]).mean()) < 5.0 / root, distance
    assert 4.2 < np.abs(numbers).max() < 6.0


def test_neighbouring_keys_have_streams_of_their_own():
    streams = [draw(key, 1000, 4).ravel() for key in [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (ALL, 0)]]
    for index, one in enumerate(streams):
        for other in streams[:index]:
            assert not np.isin(one, other).mean() > 0.01
            assert abs(np.corrcoef(one, other)[0, 1]) < 5.0 / np.sqrt(one.size)


def test_a_key_gives_the_same_numbers_again():
    np.testing.assert_array_equal(draw((3, 4), 30, 5), draw((3, 4), 30, 5))
