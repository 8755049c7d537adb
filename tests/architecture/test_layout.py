"""The tests mirror the packages, and every test file is collected."""

from repository import ROOT

TESTS = ROOT / "tests"
OF_NO_PACKAGE = {"acceptance", "architecture", "attack", "canaries", "docs", "robosuite_environment"}
RUN_BY_NAME = {"tests/acceptance/container_image.py"}
"""`make image` runs it, as a container engine is not everywhere."""


def test_every_folder_of_tests_is_that_of_a_package():
    folders = {path.parent.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")} - {"."}
    for name in folders - OF_NO_PACKAGE:
        assert (ROOT / "sacpipe" / name / "__init__.py").is_file(), name


def test_every_file_with_tests_has_a_name_that_pytest_collects():
    holders = {
        path.relative_to(ROOT).as_posix() for path in TESTS.rglob("*.py") if "\ndef test_" in path.read_text()
    }
    assert {name for name in holders if not name.rpartition("/")[2].startswith("test_")} == RUN_BY_NAME
