"""The wire format, byte by byte: what a field holds, and where it ends."""

import itertools

import pytest

from sacpipe.bundle.protobuf import MAX_FIELDS, read_message, refuse, signed
from sacpipe.core.errors import BundleError

NOT_A_MODEL = "expected an ONNX model, found other or truncated bytes"


def read(kind, data, count=1):
    return read_message(kind, memoryview(data), itertools.count(count))


def fault(kind, data, count=1) -> str:
    with pytest.raises(BundleError) as refusal:
        read(kind, data, count)
    text = str(refusal.value)
    assert text == str(refuse(text.removeprefix("policy.onnx: ").partition(". Export")[0]))
    return text.removeprefix("policy.onnx: ").partition(". Export")[0]


def test_a_refusal_names_the_file_and_what_to_do():
    assert (
        str(refuse("expected this")) == "policy.onnx: expected this. Export the policy again with `sacpipe`."
    )


def test_integers_and_bytes_are_grouped_by_their_number():
    message = read("tensor", b"\x08\x02\x08\xac\x02\x10\x01\x42\x03abc\x4a\x00")
    assert message.numbers == {1: [2, 300], 2: [1]}
    assert {number: list(map(bytes, blocks)) for number, blocks in message.blocks.items()} == {
        8: [b"abc"],
        9: [b""],
    }
    assert (message.number(2, "x"), bytes(message.block(8, "x")), message.text(8, "x")) == (1, b"abc", "abc")


def test_a_float_is_four_bytes():
    assert bytes(read("attribute", b"\x15\x00\x00\x80\x3f").block(2, "x")) == b"\x00\x00\x80\x3f"


def test_a_text_that_is_not_utf_8_is_shown_with_marks():
    assert read("opset", b"\x0a\x02a\xff").text(1, "domain") == "a\N{REPLACEMENT CHARACTER}"


def test_what_is_missing_or_there_twice_is_named():
    message = read("opset", b"\x10\x01\x10\x01\x0a\x00\x0a\x00")
    for get in (message.number, message.block, message.text):
        with pytest.raises(BundleError, match="expected one dim, found 0"):
            get(3, "dim")
    for get, field in ((message.number, 2), (message.block, 1), (message.text, 1)):
        with pytest.raises(BundleError, match="expected one dim, found 2"):
            get(field, "dim")


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (b"\x00", 0),
        (b"\x7f", 127),
        (b"\x80\x01", 128),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 2**64 - 1),
        (b"\x81\x80\x80\x80\x80\x80\x80\x80\x80\x00", 1),
    ],
)
def test_an_integer_has_at_most_ten_bytes(data, number):
    assert read("opset", b"\x10" + data).number(2, "version") == number
    assert fault("opset", b"\x10" + b"\x80" * 10 + b"\x00") == NOT_A_MODEL


@pytest.mark.parametrize(
    "data",
    [
        b"\x80",  # a key that does not end
        b"\x10",  # no integer
        b"\x10\x80",  # an integer that does not end
        b"\x0a\x03ab",  # two of three bytes
        b"\x0a\x80",  # a size that does not end
        b"\x15\x00\x00\x80",  # three of four bytes of a float
        b"\x09" + bytes(7),  # seven of eight bytes
        b"\x0b",  # the start of a group, which has no size
    ],
)
def test_a_field_that_ends_too_early_is_refused(data):
    assert fault("opset", data) == NOT_A_MODEL


@pytest.mark.parametrize(
    ("kind", "data", "sentence"),
    [
        ("opset", b"\x09" + bytes(8), "the opset holds field 1, which a policy may not hold"),
        ("opset", b"\x08\x00", "the opset holds field 1, which a policy may not hold"),
        ("opset", b"\x18\x00", "the opset holds field 3, which a policy may not hold"),
        ("tensor", b"\x6a\x00", "the tensor holds data in another file, which a policy may not hold"),
    ],
)
def test_a_field_of_another_number_or_type_is_refused(kind, data, sentence):
    assert fault(kind, data) == sentence


def test_fields_are_counted_through_the_whole_model():
    assert read("opset", b"\x10\x07", MAX_FIELDS).number(2, "version") == 7
    for data, count in ((b"\x10\x07", MAX_FIELDS + 1), (b"\x10\x07\x0a\x00", MAX_FIELDS)):
        assert fault("opset", data, count) == f"expected at most {MAX_FIELDS} protobuf fields, found more"


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, 0),
        (200, 200),
        (2**63 - 1, 2**63 - 1),
        (2**63, -(2**63)),
        (2**63 + 1, 1 - 2**63),
        (2**64 - 1, -1),
        (2**64, 0),
        (2**65 - 1, -1),
    ],
)
def test_a_signed_integer_has_64_bits(number, expected):
    assert signed(number) == expected
