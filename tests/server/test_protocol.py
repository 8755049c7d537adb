"""Bytes to requests and answers to bytes: every refusal, and nothing that is not exactly right gets through."""

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacpipe.server.http_errors import FaultError, RefusalError
from sacpipe.server.inputs import Inputs
from sacpipe.server.protocol import (
    InferAnswer,
    InferRequest,
    Sequence,
    parse_infer,
    render_error,
    render_infer,
)
from sacpipe.specs.observation import ObservationLayout
from sacpipe.specs.terms import vector_term

TERMS = (
    vector_term("position", 2, unit="m", source="encoders"),
    vector_term("velocity", 1, unit="m/s", source="tachometer"),
)
INPUTS = Inputs(ObservationLayout(TERMS), max_batch=4)
ROW = [0.5, 0.25, -1.0]
RAW = np.array(ROW, "<f4").tobytes()


def tensor(**changes):
    whole = {"name": "observation", "shape": [1, 3], "datatype": "FP32", "data": ROW} | changes
    return {key: value for key, value in whole.items() if value is not ...}


def body(*inputs, **top):
    return json.dumps({"inputs": list(inputs) or [tensor()], **top}).encode()


def binary(raw=RAW, header=None, **changes):
    """Return a body with a raw tensor after its JSON, and the header's value."""
    announced = {"parameters": {"binary_data_size": len(raw)}, "data": ...} | changes
    text = body(tensor(**announced)) if header is None else header
    return text + raw, str(len(text)).encode()


def refusal(data, header_length=None):
    with pytest.raises(RefusalError) as caught:
        parse_infer(data, header_length, INPUTS)
    assert caught.value.status == 400
    return str(caught.value)


class TestRequests:
    @pytest.mark.parametrize("data", [ROW, [ROW], [0.5, 0.25, -1]])
    def test_flat_and_nested_data_are_the_same(self, data):
        request = parse_infer(body(tensor(data=data)), None, INPUTS)
        assert request.observations.vector.tolist() == [ROW]
        assert request.observations.vector.dtype == np.float32
        assert request[1:] == (None, None, None, {}, None, False)

    @pytest.mark.parametrize("data", [[ROW, ROW], ROW + ROW])
    def test_a_batch(self, data):
        request = parse_infer(body(tensor(shape=[2, 3], data=data)), None, INPUTS)
        assert request.observations.vector.tolist() == [ROW, ROW]

    def test_a_binary_tensor(self):
        request = parse_infer(*binary(), INPUTS)
        assert request.observations.vector.tolist() == [ROW]
        assert not request.is_binary

    def test_a_raw_request_wants_raw_actions(self):
        request = parse_infer(RAW, b"0", INPUTS)
        assert request.observations.vector.tolist() == [ROW]
        assert request.is_binary

    def test_json_alone_may_say_how_long_it_is(self):
        assert parse_infer(body(), str(len(body())).encode(), INPUTS).observations.vector.tolist() == [ROW]

    def test_every_parameter(self):
        parameters = {
            "sequence_id": "arm",
            "sequence_start": True,
            "sequence_end": True,
            "timeout": 500,
            "observation_stamp_ns": 7,
            "priority": 1,
            "of_another_server": "yes",
        }
        request = parse_infer(body(id="a", parameters=parameters, model_name="policy"), None, INPUTS)
        assert request == InferRequest(
            request.observations, "a", Sequence("arm", True, True), 7, {}, 500, False
        )

    @pytest.mark.parametrize(("key", "found"), [(7, 7), (2**64 - 1, 2**64 - 1), (0, None), ("", None)])
    def test_a_sequence_has_a_number_or_a_name(self, key, found):
        sequence = parse_infer(body(parameters={"sequence_id": key}), None, INPUTS).sequence
        assert (sequence and sequence.key) == found

    @pytest.mark.parametrize(
        ("default", "own", "found"),
        [(False, None, False), (True, None, True), (True, False, False), (False, True, True)],
    )
    def test_an_output_says_for_itself_whether_it_is_binary(self, default, own, found):
        output = {"name": "action"} | ({} if own is None else {"parameters": {"binary_data": own}})
        text = body(parameters={"binary_data_output": default}, outputs=[output])
        assert parse_infer(text, None, INPUTS).is_binary == found


class TestJsonRefusals:
    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"", "truncated"),
            (b"{", "truncated"),
            (b"[]", "Expected `object`"),
            (b'{"inputs": []} x', "trailing"),
            (b"\xff\xfe", "malformed"),
            (b'{"inputs":[{"name":"\xff"}]}', "utf-8"),
            (b"{}", "missing required field `inputs`"),
            (body(id=7), r"$.id"),
            (body(id="x" * 129), "128"),
            (body(parameters=[]), "$.parameters"),
            (body(outputs={}), "$.outputs"),
            (b'{"inputs": ' + b"[" * 100_000, "Expected `object`"),
            (b'{"inputs": [], "extra": ' + b"[" * 100_000, "depth"),
        ],
    )
    def test_no_request_at_all(self, data, said):
        assert said in refusal(data)

    @pytest.mark.parametrize(
        ("inputs", "said"),
        [
            (
                [tensor(), tensor()],
                "or 'observation' alone; missing 'position', 'velocity'; unknown 'observa",
            ),
            ([tensor(name="obs")], "unknown 'obs'"),
            ([tensor(name="x" * 10_000)], "x" * 40 + "'"),
            ([tensor(datatype="FP64")], "expected FP32, found 'FP64'"),
            ([tensor(datatype="BYTES")], "found 'BYTES'"),
            ([tensor(shape=[-1, 3])], ">= 0"),
            ([tensor(shape=[0, 3], data=[])], "expected [1 to 4, 3], found [0, 3]"),
            ([tensor(shape=[5, 3], data=ROW * 5)], "found [5, 3]"),
            ([tensor(shape=[1, 4], data=[*ROW, 1.0])], "found [1, 4]"),
            ([tensor(shape=[3])], "found [3]"),
            ([tensor(shape=[1, 1, 3])], "found [1, 1, 3]"),
            ([tensor(shape=[2**62, 2**62])], "expected [1 to 4, 3]"),
            ([tensor(shape=[2**200, 3])], "inputs[0].shape"),
            ([tensor(shape=[1.5, 3])], "shape[0]"),
            ([tensor(shape=[True, 3])], "shape[0]"),
            ([tensor(data=...)], "either `data` or `parameters.binary_data_size`"),
            ([tensor(parameters={"binary_data_size": 12})], "either `data` or"),
            ([tensor(parameters={"binary_data_size": 12}, data=...)], "expected 0 in all, the bytes after"),
            ([tensor(parameters={"binary_data_size": -1}, data=...)], ">= 0"),
            ([tensor(parameters={"binary_data_size": True}, data=...)], "binary_data_size"),
            ([tensor(data=ROW[:2])], "expected 3 numbers, found 2"),
            ([tensor(data=[*ROW, 1.0])], "expected 3 numbers, found 4"),
            ([tensor(data=[ROW[:2]])], "found one of 2 in axis 1"),
            (
                [tensor(shape=[2, 3], data=[ROW])],
                "expected lists of the shape [2, 3], found one of 1 in axis 0",
            ),
            ([tensor(shape=[2, 3], data=[ROW + ROW])], "found one of 1 in axis 0"),
            ([tensor(data=[[ROW]])], "Expected `float`, got `array`"),
            ([tensor(data="AAAA")], "Expected `array`"),
            ([tensor(data={"0": 1})], "Expected `array`"),
            ([tensor(data=None)], "Expected `array`"),
            ([tensor(data=[0, 1e39, 0])], "number 1 is beyond FP32"),
        ],
    )
    def test_an_input_that_is_none(self, inputs, said):
        assert said in refusal(body(*inputs))

    @pytest.mark.parametrize("largest", [3.4028235677973362e38, -3.4028235677973362e38])
    def test_the_largest_number_of_float32(self, largest):
        (row,) = parse_infer(body(tensor(data=[0, largest, 0])), None, INPUTS).observations.vector
        assert np.isfinite(row).all()
        beyond = largest * (1 + 2.0**-50)
        assert f"number 1 is beyond FP32, found {beyond}" in refusal(body(tensor(data=[0, beyond, 0])))

    @pytest.mark.parametrize("index", range(6))
    @pytest.mark.parametrize(
        "found", ["null", "NaN", "Infinity", "-Infinity", "true", '"1"', "1e400", "[]", "{}"]
    )
    @pytest.mark.parametrize("is_nested", [False, True])
    def test_no_number_in_any_position(self, index, found, is_nested):
        numbers = ["1.0"] * 6
        numbers[index] = found
        flat = ", ".join(numbers)
        rows = f"[{', '.join(numbers[:3])}], [{', '.join(numbers[3:])}]"
        text = body(tensor(shape=[2, 3], data="DATA")).replace(
            b'"DATA"', f"[{rows if is_nested else flat}]".encode()
        )
        refusal(text)

    @pytest.mark.parametrize(
        ("parameters", "said"),
        [
            ({"sequence_id": -1}, "expected 1 to 2**64 - 1 or a text, found -1"),
            ({"sequence_id": 2**64}, "expected 1 to 2**64 - 1"),
            ({"sequence_id": 1.5}, "sequence_id"),
            ({"sequence_id": "x" * 129}, "128"),
            ({"sequence_start": True}, "expected with sequence_start"),
            ({"sequence_id": 1, "sequence_end": 1}, "sequence_end"),
            ({"timeout": -1}, "timeout"),
            ({"timeout": "soon"}, "timeout"),
            ({"observation_stamp_ns": 1.5}, "observation_stamp_ns"),
            ({"binary_data_output": "yes"}, "binary_data_output"),
        ],
    )
    def test_parameters(self, parameters, said):
        assert said in refusal(body(parameters=parameters))

    def test_a_step_of_a_sequence_is_one_observation(self):
        text = body(tensor(shape=[2, 3], data=ROW * 2), parameters={"sequence_id": 1})
        assert "one observation a step of a sequence, found 2" in refusal(text)

    @pytest.mark.parametrize(
        "outputs", [[{"name": "value"}], [{"name": "action"}, {"name": "action"}], [{}], ["action"]]
    )
    def test_outputs(self, outputs):
        assert "outputs" in refusal(body(outputs=outputs))


class TestBinaryRefusals:
    @pytest.mark.parametrize(
        "value", [b"", b"-1", b"+5", b"1_0", b"1.0", b"0x10", b" 1", b"1 ", b"\xb2", b"9" * 30]
    )
    def test_a_header_length_that_is_none(self, value):
        assert "Inference-Header-Content-Length: expected 0 to" in refusal(binary()[0], value)

    def test_a_header_length_beyond_the_body(self):
        data, _ = binary()
        assert f"found '{len(data) + 1}'" in refusal(data, str(len(data) + 1).encode())

    @pytest.mark.parametrize("raw", [b"", RAW[:-1], RAW + b"\0", RAW + RAW])
    def test_a_tensor_of_another_size(self, raw):
        assert "expected 12 bytes" in refusal(*binary(raw))
        assert "expected 12 bytes" in refusal(raw, b"0")

    @pytest.mark.parametrize("announced", [0, 11, 13, 2**70])
    def test_another_size_than_announced(self, announced):
        said = refusal(*binary(parameters={"binary_data_size": announced}))
        assert f"binary_data_size: expected 12 bytes, 1 x 3 of FP32, found {announced}" in said

    def test_bytes_that_were_not_announced(self):
        assert "expected 12 in all, the bytes after the JSON header, found 0" in refusal(
            *binary(header=body())
        )

    def test_data_twice(self):
        assert "either `data` or" in refusal(*binary(data=ROW))

    def test_no_header_length(self):
        assert "trailing" in refusal(binary()[0])

    @settings(max_examples=300, deadline=None)
    @given(st.integers(-5, 400), st.integers(0, 40), st.binary(max_size=40))
    def test_any_header_length_is_an_answer_or_a_refusal(self, length, announced, raw):
        text = body(tensor(parameters={"binary_data_size": announced}, data=...))
        try:
            request = parse_infer(text + raw, str(length).encode(), INPUTS)
        except RefusalError:
            return
        assert (length, announced, len(raw)) == (len(text), 12, 12)
        assert request.observations.vector.tobytes() == raw

    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=200), st.one_of(st.none(), st.binary(max_size=6), st.just(b"0")))
    def test_any_bytes_are_an_answer_or_a_refusal(self, data, length):
        try:
            request = parse_infer(data, length, INPUTS)
        except RefusalError:
            return
        assert request.observations.vector.shape == (1, 3)

    def test_nan_is_left_to_the_guards(self):
        """A sequence's runtime has a fallback for it; without one the policy refuses it."""
        raw = struct.pack("<3f", 0.0, math.nan, 0.0)
        assert math.isnan(parse_infer(raw, b"0", INPUTS).observations.vector[0, 1])


class TestAnswers:
    def answer(self, actions=((1.25, 2.5),), **changes):
        given = {"model_name": "policy", "model_version": "v", "parameters": {"verdict": "ok"}, "outputs": []}
        return InferAnswer(**given | changes), np.array(actions, np.float32)

    def test_json(self):
        body, header_length = render_infer(*self.answer(), is_binary=False)
        assert header_length is None
        assert json.loads(body) == {
            "model_name": "policy",
            "model_version": "v",
            "parameters": {"verdict": "ok"},
            "outputs": [{"name": "action", "datatype": "FP32", "shape": [1, 2], "data": [1.25, 2.5]}],
        }

    def test_binary(self):
        body, header_length = render_infer(*self.answer([[1, 2], [3, 4]]), is_binary=True)
        (output,) = json.loads(body[:header_length])["outputs"]
        assert output["parameters"] == {"binary_data_size": 16}
        assert "data" not in output
        assert struct.unpack("<4f", body[header_length:]) == (1, 2, 3, 4)

    @pytest.mark.parametrize("id_", ["", "7", "ü"])
    def test_an_id_comes_back(self, id_):
        assert json.loads(render_infer(*self.answer(id=id_), is_binary=False).body)["id"] == id_

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("is_binary", [False, True])
    def test_an_action_that_is_not_finite_never_leaves(self, value, is_binary):
        with pytest.raises(FaultError, match="action_not_finite"):
            render_infer(*self.answer([[0.0, value]]), is_binary=is_binary)

    def test_an_error(self):
        assert json.loads(render_error('said "no"')) == {"error": 'said "no"'}
