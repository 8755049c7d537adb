"""A new params.yaml has a value for every key, from the model that the key belongs to, or as it was chosen."""

import pytest
from small_models import Algorithm, File, Linear, Mlp, small_tree

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError


def test_sections_that_a_preset_gives_in_part_are_completed_by_their_own():
    found = small_tree()["algorithm"]
    assert found["trunk"] == {"name": "mlp", "hidden_dims": [7, 7]}
    assert found["heads"] == [{"name": "linear", "bias": True}, {"name": "mlp", "hidden_dims": [3]}]
    assert found["temperature"] == {"mode": "learned", "rate": 2e-3}
    assert found["video"] == {"height": 320}
    assert found["limit"] is None


def test_the_tree_fits_its_model_and_has_its_order():
    found = small_tree()
    assert File.parse(found).as_tree() == found
    assert list(found["algorithm"]) == list(Algorithm.model_fields)


def test_a_key_with_one_possible_value_needs_no_preset():
    assert small_tree()["algorithm"]["name"] == "small"


def test_chosen_values_go_before_presets():
    found = small_tree({"algorithm": {"temperature": {"rate": 1.0}, "video": {"height": 16}}})["algorithm"]
    assert found["temperature"] == {"mode": "learned", "rate": 1.0}
    assert found["video"] == {"height": 16}


def test_another_member_has_its_own_values():
    found = small_tree({"algorithm": {"trunk": {"name": "linear"}}})["algorithm"]
    assert found["trunk"] == {"name": "linear", "bias": True}


def test_an_optional_section_that_is_chosen_is_completed():
    assert small_tree({"algorithm": {"limit": {}}})["algorithm"]["limit"] == {"height": 320}


def test_a_member_may_be_chosen_by_its_import_path():
    found = small_tree({"algorithm": {"trunk": {"name": "small_models:Mlp"}}})["algorithm"]["trunk"]
    assert found == {"name": "small_models:Mlp", "hidden_dims": [7, 7]}
    assert type(File.parse(small_tree({"algorithm": {"trunk": found}})).algorithm.trunk) is Mlp


def test_an_unknown_key_that_is_chosen_reaches_the_model():
    with pytest.raises(
        ConfigError, match=r"algorithm\.trunk\.hidden_dim: unknown key; expected one of hidden_dims"
    ):
        File.parse(small_tree({"algorithm": {"trunk": {"hidden_dim": 3}}}))


def test_a_key_without_a_value_is_named_with_its_model():
    class Bare(Config):
        rate: float

    with pytest.raises(ConfigError, match=r"Bare: the preset has no value for the key 'rate'\. Return one"):
        small_tree(model=Bare)


def test_a_member_that_is_unknown_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="trunk 'liner': expected one of linear"):
        small_tree({"algorithm": {"trunk": {"name": "liner"}}})


def test_a_pydantic_default_is_a_preset():
    assert small_tree({"name": "linear"}, Linear) == {"name": "linear", "bias": True}
