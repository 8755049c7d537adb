"""docs/architecture.svg is drawn from the import contracts, and is up to date."""

import importlib.util
import re
import sys

import pytest
from repository import ROOT

PYPROJECT = (ROOT / "pyproject.toml").read_text()


def _load_generator():
    spec = importlib.util.spec_from_file_location("architecture_picture", ROOT / "docs" / "architecture.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


generator = _load_generator()
CONTRACTS = generator.read_contracts(PYPROJECT)


def packages():
    """Return the packages of the repository, named as the picture names them."""
    folders = (path.parent for path in (ROOT / "sacpipe").glob("*/__init__.py"))
    return {"pipelines", *(folder.name for folder in folders)}


def drawn():
    """Return where each package's name is drawn, by its height in the picture."""
    pattern = r'<text class="name" x="[\d.]+" y="([\d.]+)" text-anchor="start">(\w+)</text>'
    return {name: float(y) for y, name in re.findall(pattern, generator.SVG_FILE.read_text())}


def test_the_committed_picture_is_what_the_generator_draws():
    expected = generator.draw(CONTRACTS)
    assert generator.SVG_FILE.read_text() == expected, "out of date: run `python docs/architecture.py`"


def test_every_package_is_in_a_layer_and_in_the_picture():
    layered = [package for layer in CONTRACTS.layers for package in layer]
    assert sorted(layered) == sorted(packages())
    assert drawn().keys() == generator.DESCRIPTIONS.keys() == packages()


def test_a_higher_layer_is_drawn_higher_and_siblings_beside_each_other():
    heights = drawn()
    rows = [{heights[package] for package in layer} for layer in CONTRACTS.layers]
    assert all(len(row) == 1 for row in rows)
    assert [*rows] == sorted(rows, key=min)


def test_a_layer_that_moves_makes_the_picture_out_of_date():
    swapped = PYPROJECT.replace(
        '"sacpipe.rollout",\n  "sacpipe.robot",', '"sacpipe.robot",\n  "sacpipe.rollout",'
    )
    assert swapped != PYPROJECT
    moved = generator.draw(generator.read_contracts(swapped))
    assert moved != generator.SVG_FILE.read_text()


def test_a_new_package_needs_a_description():
    extended = CONTRACTS._replace(layers=(("novelty",), *CONTRACTS.layers))
    with pytest.raises(ValueError, match="DESCRIPTIONS has no 'novelty'"):
        generator.draw(extended)


def test_a_green_package_can_import_green_ones_only():
    """The picture says so: every other package is forbidden to the robot, or is in a layer above it."""
    green = [
        place
        for place, layer in enumerate(CONTRACTS.layers)
        if any(CONTRACTS.side(p) == "robot" for p in layer)
    ]
    for place, layer in enumerate(CONTRACTS.layers):
        for package in layer:
            if CONTRACTS.side(package) == "project":
                assert place < min(green), package


def test_the_steps_name_packages_that_exist():
    for step in (*generator.FORTH, *generator.BACK):
        for package in step.packages:
            assert (ROOT / "sacpipe" / package.replace(".", "/")).is_dir(), step.title


def test_the_steps_of_dvc_yaml_are_in_the_picture():
    titles = [step.title for step in generator.FORTH]
    assert titles[1:4] == ["train", "export", "evaluate"]
