"""Configuration refuses what it does not know, and says where."""

import pytest
from pydantic import Field

from sacpipe.core.config import Config, read_yaml
from sacpipe.core.errors import ConfigError


class Inner(Config):
    """A section."""

    rate: float = Field(gt=0)
    dims: tuple[int, ...]


class Outer(Config):
    """A file."""

    seed: int
    inner: Inner


GOOD = {"seed": 1, "inner": {"rate": 1e-4, "dims": [2, 3]}}


def write(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return path


def test_lists_become_tuples_and_scientific_notation_is_a_number(tmp_path):
    path = write(tmp_path, "seed: 1\ninner: {rate: 1e-4, dims: [2, 3]}\n")
    assert Outer.load(path) == Outer.parse(GOOD)
    assert Outer.load(path).inner.dims == (2, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "seed: 1\ninner: {rate: 1.0, dims: [], rat: 2}",
            r"inner\.rat: unknown key; expected one of rate, dims",
        ),
        ("seed: 1", r"inner: missing\. Add it; `sacpipe params TASK` prints a complete file"),
        ("seed: true\ninner: {rate: 1.0, dims: []}", r"seed: Input should be a valid integer, found true"),
        ('seed: "1"\ninner: {rate: 1.0, dims: []}', r"seed: Input should be a valid integer, found '1'"),
        ("seed: 1\ninner: {rate: .inf, dims: []}", r"inner\.rate: Input should be a finite number"),
        ("seed: 1\ninner: {rate: .nan, dims: []}", r"inner\.rate: Input should be a finite number"),
        (
            "seed: 1\ninner: {rate: -0.5, dims: []}",
            r"inner\.rate: Input should be greater than 0, found -0\.5",
        ),
        ("seed: 1\ninner: {rate: 1.0, dims: [1.5]}", r"inner\.dims\.0: .*valid integer"),
        ("- 1", r"expected a mapping of sections, found list"),
        ("a: [", r"is not valid YAML"),
        ("", r"expected a mapping of sections, found NoneType"),
        ("seed: 2026-11-22\ninner: {rate: 1.0, dims: []}", r"has a value that JSON cannot hold"),
    ],
)
def test_what_is_wrong_is_named_by_key_path(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        Outer.load(write(tmp_path, text))


def test_every_fault_is_named_at_once(tmp_path):
    with pytest.raises(ConfigError) as caught:
        Outer.load(write(tmp_path, "sed: 1\ninner: {rate: -1.0, dims: []}"))
    assert len(str(caught.value).splitlines()) == 3


def test_a_missing_file_says_how_to_get_one(tmp_path):
    with pytest.raises(ConfigError, match="is missing. `sacpipe params TASK` prints a complete one"):
        read_yaml(tmp_path / "params.yaml")


def test_a_section_reader_does_not_mind_the_others(tmp_path):
    path = write(tmp_path, "seed: 1\ninner: {rate: 1.0, dims: []}\nother: {anything: goes}\n")
    assert Outer.load_sections(path).seed == 1
    with pytest.raises(ConfigError, match="other: unknown key"):
        Outer.load(path)


def test_replace_validates():
    assert Outer.parse(GOOD).replace(seed=2).seed == 2
    with pytest.raises(ConfigError, match="seed"):
        Outer.parse(GOOD).replace(seed=0.5)


def test_digest_depends_on_values_not_on_order():
    turned = {"inner": {"dims": [2, 3], "rate": 1e-4}, "seed": 1}
    assert Outer.parse(GOOD).digest() == Outer.parse(turned).digest()
    assert Outer.parse(GOOD).digest() != Outer.parse(GOOD | {"seed": 2}).digest()
