"""Terms by name, in any order and form, give one packed observation; what is not exactly right is refused."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacpipe.server.http_errors import RefusalError
from sacpipe.server.inputs import Inputs
from sacpipe.server.protocol import parse_infer
from sacpipe.specs.observation import ObservationLayout
from sacpipe.specs.terms import Term, vector_term


def a_term(name, shape, dtype="float32", groups=("policy", "critic")):
    return Term(name=name, shape=shape, dtype=dtype, unit="1", source="", groups=groups)


JOINTS = a_term("joints", (2,))
TORQUE = a_term("torque", (), groups=("policy",))
"""The policy alone sees it, so its place in the vector is before the joints."""
GRID = a_term("grid", (2, 2))
CAMERA = a_term("camera", (2, 1, 3), "uint8")
NUMBERS = Inputs(ObservationLayout((JOINTS, TORQUE, GRID)), max_batch=4)
MIXED = Inputs(ObservationLayout((JOINTS, CAMERA, TORQUE)), max_batch=4)
IMAGE = Inputs(ObservationLayout((CAMERA,)), max_batch=4)

BATCH = {
    "joints": np.array([[1, 2], [3, 4]], np.float32),
    "torque": np.array([5, 6], np.float32),
    "grid": np.arange(8, dtype=np.float32).reshape(2, 2, 2),
    "camera": np.arange(12, dtype=np.uint8).reshape(2, 2, 1, 3),
}
DATATYPES = {"f": "FP32", "B": "UINT8"}


def tensor(name, rows=1, **changes):
    array = BATCH[name][:rows]
    whole = {"name": name, "shape": list(array.shape), "datatype": DATATYPES[array.dtype.char]}
    return whole | {"data": array.tolist()} | changes


def read(inputs, *tensors, tail=b""):
    head = json.dumps({"inputs": list(tensors)}).encode()
    return parse_infer(head + tail, str(len(head)).encode(), inputs)


def request_of(inputs, forms, rows):
    """Read the terms in this order, each as nested or flat JSON or as bytes."""
    tensors, tail = [], b""
    for name, form in forms:
        one = tensor(name, rows)
        if form == "flat":
            one["data"] = BATCH[name][:rows].ravel().tolist()
        if form == "binary":
            raw = BATCH[name][:rows].tobytes()
            del one["data"]
            one["parameters"], tail = {"binary_data_size": len(raw)}, tail + raw
        tensors.append(one)
    return read(inputs, *tensors, tail=tail).observations


def refusal(inputs, *tensors, tail=b""):
    with pytest.raises(RefusalError) as caught:
        read(inputs, *tensors, tail=tail)
    assert caught.value.status == 400
    return str(caught.value)


def check(observations, rows, *names):
    assert list(observations) == list(names)
    for name in names:
        np.testing.assert_array_equal(observations[name], BATCH[name][:rows])
        assert observations[name].dtype == BATCH[name].dtype


class TestTerms:
    @pytest.mark.parametrize("rows", [1, 2])
    @settings(max_examples=60, deadline=None)
    @given(
        st.permutations(["joints", "torque", "grid"]),
        st.lists(st.sampled_from(["nested", "flat", "binary"]), min_size=3, max_size=3),
    )
    def test_any_order_and_form(self, rows, names, forms):
        observations = request_of(NUMBERS, zip(names, forms, strict=True), rows)
        check(observations, rows, "joints", "torque", "grid")

    @pytest.mark.parametrize("rows", [1, 2])
    @pytest.mark.parametrize("form", ["nested", "flat", "binary"])
    def test_with_an_image(self, rows, form):
        names = ("camera", "torque", "joints")
        observations = request_of(MIXED, [(name, form) for name in names], rows)
        check(observations, rows, "joints", "camera", "torque")

    @pytest.mark.parametrize("form", ["nested", "flat", "binary"])
    def test_an_image_alone(self, form):
        observations = request_of(IMAGE, [("camera", form)], 2)
        check(observations, 2, "camera")
        assert observations.vector.shape == (2, 0)

    def test_numbers_and_bytes_in_one_request(self):
        raw = BATCH["torque"][:1].tobytes()
        torque = tensor("torque", parameters={"binary_data_size": 4})
        del torque["data"]
        observations = read(MIXED, tensor("camera"), torque, tensor("joints"), tail=raw).observations
        check(observations, 1, "joints", "camera", "torque")

    @pytest.mark.parametrize("rows", [1, 2])
    def test_the_flat_input_has_the_order_of_the_specification(self, rows):
        flat = [
            np.concatenate([BATCH[name][row].ravel() for name in ("joints", "torque", "grid")])
            for row in range(rows)
        ]
        one = {"name": "observation", "datatype": "FP32", "shape": [rows, 7], "data": np.array(flat).tolist()}
        check(read(NUMBERS, one).observations, rows, "joints", "torque", "grid")

    def test_a_body_without_json_has_the_order_of_the_specification(self):
        raw = b"".join(BATCH[name][:1].tobytes() for name in ("joints", "torque", "grid"))
        check(parse_infer(raw, b"0", NUMBERS).observations, 1, "joints", "torque", "grid")

    def test_a_term_that_is_called_observation(self):
        inputs = Inputs(ObservationLayout((vector_term("observation", 2, unit="m", source=""),)), 4)
        one = tensor("joints") | {"name": "observation"}
        assert read(inputs, one).observations["observation"].tolist() == [[1.0, 2.0]]

    def test_an_image_that_is_called_observation(self):
        inputs = Inputs(ObservationLayout((a_term("observation", (2, 1, 3), "uint8"),)), 4)
        one = tensor("camera") | {"name": "observation"}
        np.testing.assert_array_equal(read(inputs, one).observations["observation"], BATCH["camera"][:1])


class TestStamps:
    def test_one_a_term(self):
        request = read(
            MIXED, tensor("camera", parameters={"stamp_ns": 7}), tensor("torque"), tensor("joints")
        )
        assert request.term_stamps_ns == {"camera": 7}

    def test_of_the_flat_input(self):
        one = {"name": "observation", "datatype": "FP32", "shape": [1, 7], "data": [0.0] * 7}
        assert read(NUMBERS, one | {"parameters": {"stamp_ns": 7}}).term_stamps_ns == dict.fromkeys(
            ["joints", "torque", "grid"], 7
        )

    @pytest.mark.parametrize("stamp", [1.5, "7", 2**64])
    def test_one_that_is_none(self, stamp):
        one = tensor("camera", parameters={"stamp_ns": stamp})
        assert "stamp_ns" in refusal(IMAGE, one)


class TestNames:
    @pytest.mark.parametrize(
        ("names", "said"),
        [
            (["joints", "torque"], "missing 'camera'"),
            (["joints", "torque", "camera", "extra"], "unknown 'extra'"),
            (["joints", "torque", "cam"], "missing 'camera'; unknown 'cam'"),
            (["joints", "joints", "torque", "camera"], "repeated 'joints'"),
            (["joints", "joints", "torque"], "missing 'camera'; repeated 'joints'"),
            (["observation"], "missing 'joints', 'camera', 'torque'; unknown 'observation'"),
            (["os:system"], "unknown 'os:system'"),
            ([], "missing 'joints', 'camera', 'torque'"),
        ],
    )
    def test_what_is_missing_unknown_or_repeated_is_named(self, names, said):
        tensors = [tensor("joints") | {"name": name} for name in names]
        text = refusal(MIXED, *tensors)
        assert text.startswith("inputs: expected 'joints', 'camera', 'torque', each once; ")
        assert said in text

    def test_the_flat_input_is_offered_where_it_is_possible(self):
        assert "each once, or 'observation' alone; missing" in refusal(NUMBERS)

    def test_a_body_without_json_is_for_policies_without_images(self):
        with pytest.raises(RefusalError, match="for policies without images; send the terms by name"):
            parse_infer(b"\0" * 6, b"0", IMAGE)

    def test_a_message_stays_short(self):
        tensors = [tensor("joints") | {"name": f"{index:0500d}"} for index in range(3000)]
        assert len(refusal(MIXED, *tensors)) < 1000


class TestForms:
    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"datatype": "FP32"}, "inputs[0].datatype: expected UINT8, found 'FP32'"),
            ({"shape": [1, 2, 3, 1]}, "inputs[0].shape: expected [1 to 4, 2, 1, 3], found [1, 2, 3, 1]"),
            ({"shape": [2, 1, 3]}, "found [2, 1, 3]"),
            ({"shape": []}, "found []"),
            ({"shape": [5, 2, 1, 3]}, "found [5, 2, 1, 3]"),
            ({"shape": [2**62, 2, 1, 3]}, "expected [1 to 4, 2, 1, 3]"),
            ({"data": [0, 1, 2, 3, 4, 256]}, "<= 255"),
            ({"data": [0, 1, 2, 3, 4, -1]}, ">= 0"),
            ({"data": [0, 1, 2, 3, 4, 0.5]}, "Expected `int`"),
            ({"data": [0, 1, 2, 3, 4, True]}, "Expected `int`"),
            ({"data": [[0, 1, 2], [3, 4, 5]]}, "Expected `array`"),
            ({"data": [[[[0, 1, 2]], [[3, 4]]]]}, "found one of 2 in axis 3"),
            ({"data": [[[[0, 1]], [[2, 3, 4, 5]]]]}, "found one of 2 in axis 3"),
            ({"data": [0] * 7}, "expected 6 numbers, found 7"),
            ({"data": [0] * 5}, "expected 6 numbers, found 5"),
        ],
    )
    def test_an_image_that_is_none(self, changes, said):
        assert said in refusal(IMAGE, tensor("camera", **changes))

    def test_batches_of_two_sizes(self):
        text = refusal(MIXED, tensor("camera", 2), tensor("joints", 1), tensor("torque", 2))
        assert "inputs[1].shape: expected [2, 2], found [1, 2]" in text

    @pytest.mark.parametrize("announced", [0, 5, 7, 2**70])
    def test_bytes_of_another_size(self, announced):
        one = tensor("camera", parameters={"binary_data_size": announced})
        del one["data"]
        assert f"expected 6 bytes, 1 x 6 of UINT8, found {announced}" in refusal(IMAGE, one, tail=bytes(6))

    def test_fewer_bytes_than_all_terms_have(self):
        names = ("joints", "camera", "torque")
        tensors = [tensor(name, parameters={"binary_data_size": BATCH[name][:1].nbytes}) for name in names]
        for one in tensors:
            del one["data"]
        assert "expected 17 in all, the bytes after the JSON header, found 18" in refusal(
            MIXED, *tensors, tail=bytes(17)
        )

    def test_a_list_of_too_many_numbers_takes_no_memory(self):
        body = b'{"inputs": [{"name": "camera", "datatype": "UINT8", "shape": [1, 2, 1, 3], "data": [%s]}]}'
        body %= b"0," * 2_000_000 + b"0"
        tracemalloc.start()
        with pytest.raises(RefusalError, match="expected 6 numbers, found 2000001"):
            parse_infer(body, None, IMAGE)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(body)
        tracemalloc.stop()
