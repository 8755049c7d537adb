"""The text of a params.yaml: order and comments of the models, values as YAML 1.2 reads them."""

import math

import pytest
from ruamel.yaml import YAML
from small_models import File, small_tree

from sacpipe.core.config import Config
from sacpipe.params.yaml_text import comment_of, first_sentence, scalar, yaml_text

TEXT = """\
seed: 1  # seed of all random numbers

algorithm:                # learner
  name: small             # name of the algorithm
  trunk:                  # Multilayer perceptron
    name: mlp             # trunk: mlp, linear, or one of another package
    hidden_dims: [7, 7]   # units of each hidden layer
  temperature:            # weight of the entropy term
    mode: learned         # rule: learned, or fixed with `value` only
    rate: 0.002           # learning rate
  heads:                  # last layers, one a line
    - {name: linear, bias: true}  # one matrix
    - {name: mlp, hidden_dims: [3]}  # multilayer perceptron
  video:                  # video of an episode
    height: 320           # height in pixels
  limit: null             # ONNX limit; null for none
"""


def test_keys_values_and_comments_are_where_the_models_have_them():
    assert squeezed(yaml_text(File.parse(small_tree()))) == squeezed(TEXT)


def squeezed(text):
    return [" # ".join(part.rstrip() for part in line.split("#")) for line in text.splitlines()]


def test_the_comments_of_a_block_begin_in_one_column():
    block = yaml_text(File.parse(small_tree())).split("\n\n")[1]
    lines = [line for line in block.splitlines() if "- {" not in line]
    assert len({line.index("#") for line in lines}) == 1


def test_a_long_line_has_its_comment_behind_it_and_ends_with_a_clause():
    class Long(Config):
        name: str
        """Text, with a clause, and another one that is much too long for any line of a file that people read."""
        text: str
        """Other text that has no clause at all and is therefore longer than the hundred and twenty characters
        of a line."""

    first, second = yaml_text(Long(name="a" * 40, text="b")).split("\n\n")
    assert first == "name: " + "a" * 40 + "  # text, with a clause"
    assert second.strip().endswith("characters of a line")


def test_the_text_reads_back_as_the_values():
    assert YAML(typ="safe").load(yaml_text(File.parse(small_tree()))) == small_tree()


@pytest.mark.parametrize("value", [
    0, -3, 0.0, 1.0, -0.25, 3e-4, 1e-8, 1e-7, 123456.75, 9300.0, 1e9, 2.5e17, 1e300, -1.5e-12, math.pi, True, False,
    None, "sac", "my_tasks:Arm-v0", "true", "null", "1e5", "0x10", "a: b", "a #b", "", " a", "ä", "a,b", "[x]", "-", "~",
    "line\nbreak", "'quoted'", [], {}, [1, [2.0, "x, y"]], {"a b": [1], "c": {"d": None}},
])  # fmt: skip
def test_a_scalar_reads_back_as_itself(value):
    text = scalar(value)
    found = YAML(typ="safe").load(f"key: {text}\nlist: [{scalar(value, is_item=True)}]\n")
    assert found == {"key": value, "list": [value]}
    assert type(found["key"]) is type(value)
    assert "\n" not in text


def test_small_numbers_are_written_with_an_exponent():
    assert scalar(3e-4) == "3.0e-4"
    assert scalar(1.25e-8) == "1.25e-8"
    assert scalar(0.001) == "0.001"


@pytest.mark.parametrize(("docstring", "sentence"), [
    ("Units of each layer.", "Units of each layer"),
    ("Share, e.g. 0.5 of all. More.", "Share"),
    ("Share of all (0.5). More.", "Share of all (0.5)"),
    ("One\n    sentence. Another.", "One sentence"),
    ("At most 0.5 of it; null for none.", "At most 0.5 of it; null for none"),
    ("", ""),
])  # fmt: skip
def test_a_comment_is_the_first_sentence(docstring, sentence):
    assert first_sentence(docstring) == sentence


def test_a_comment_begins_in_lower_case_unless_its_word_is_an_abbreviation():
    assert comment_of(File, "seed") == "seed of all random numbers"
    assert comment_of(File.model_fields["algorithm"].annotation, "limit") == "ONNX limit; null for none"
