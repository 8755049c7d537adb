"""Which weights of earlier runs params name, and which files have them."""

from sacpipe.core.files import sha256_bytes
from sacpipe.project.warm_start import named_weights, weights_digests


def test_weights_are_named_by_a_warm_start_and_by_the_algorithm():
    part = {"sha256": "b", "weight": 0.5}
    algorithm = {"name": "mine", "parts": [part, part, {"sha256": "c"}], "lower": None}
    params = {"training": {"warm_start": {"sha256": "a", "parts": "all"}}, "algorithm": algorithm}
    assert named_weights(params) == ("a", "b", "c")
    assert named_weights({"training": {"warm_start": None}, "algorithm": {"name": "sac"}}) == ()
    assert named_weights({}) == ()


def test_weights_are_in_the_folder_or_in_a_folder_of_it(tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "policy.safetensors").write_bytes(b"one")
    (tmp_path / "first" / "state.json").write_bytes(b"two")
    assert weights_digests(tmp_path) == [sha256_bytes(b"one"), sha256_bytes(b"two")]
    assert weights_digests(tmp_path / "missing") == []
