"""Members of a table: ours first, then those of installed packages; an import path only where params may name one."""

import sys
from typing import Literal

import pytest

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.core.members import Members, member_field, registered_only

GROUP = "tests.shapes"

PACKAGE = """
from sacpipe.core.config import Config


class Circle(Config):
    name: str
    radius: float


class Square(Config):
    name: str
"""
ENTRIES = f"""
[{GROUP}]
circle = far_shapes:Circle
square = far_shapes:Square
broken = far_shapes_broken:Broken
missing = far_shapes:Hexagon
leaving = far_shapes_leaving:Leaving
"""


class Square(Config):
    """Ours."""

    name: str
    side: float


SHAPES = Members("shape", GROUP, {"square": f"{__name__}:Square", "line": f"{__name__}:NoSuchLine"})


class Drawing(Config):
    shape: member_field(SHAPES)
    kind: member_field(SHAPES, "kind") | None = None


@pytest.fixture(autouse=True)
def installed(tmp_path, monkeypatch):
    """A distribution as `pip install` leaves it: modules, and metadata with entry points."""
    metadata = tmp_path / "far_shapes-1.2.3.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: far-shapes\nVersion: 1.2.3\n")
    (metadata / "entry_points.txt").write_text(ENTRIES)
    (tmp_path / "far_shapes.py").write_text(PACKAGE)
    (tmp_path / "far_shapes_broken.py").write_text("import no_such_package_at_all\n")
    (tmp_path / "far_shapes_leaving.py").write_text("raise SystemExit('bye')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.startswith("far_shapes")]:
        del sys.modules[name]


def test_ours_are_listed_first_then_the_others_sorted_and_each_name_once():
    assert SHAPES.names() == ("square", "line", "broken", "circle", "leaving", "missing")


def test_a_name_is_in_the_table_where_it_is_registered():
    assert "square" in SHAPES
    assert "circle" in SHAPES
    assert "far_shapes:Circle" not in SHAPES


def test_a_name_of_ours_is_never_another_packages():
    assert SHAPES.find("square") is Square


def test_a_member_of_an_installed_package_is_found_by_its_entry_point():
    assert SHAPES.find("circle").__module__ == "far_shapes"


def test_nothing_is_imported_before_it_is_named():
    SHAPES.names()
    assert "far_shapes" not in sys.modules


def test_an_import_path_is_refused_where_only_names_are_allowed():
    with pytest.raises(ConfigError, match="shape 'far_shapes:Circle': expected one of"):
        SHAPES.find("far_shapes:Circle")
    assert "far_shapes" not in sys.modules


def test_an_import_path_is_followed_where_it_is_allowed():
    assert SHAPES.find_or_import("far_shapes:Circle") is SHAPES.find("circle")
    assert SHAPES.find_or_import("square") is Square


@pytest.mark.parametrize(("name", "offer"), [("squar", "square"), ("circl", "circle"), ("Line", "line")])
def test_an_unknown_name_is_refused_with_the_nearest(name, offer):
    with pytest.raises(ConfigError, match=rf"^shape '{name}': expected one of {offer}"):
        SHAPES.find(name)


def test_a_name_like_no_other_is_refused_with_all():
    with pytest.raises(
        ConfigError, match="expected one of square, line, broken, circle, leaving, missing, or"
    ):
        SHAPES.find("zzzz")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken", "`far_shapes_broken:Broken` cannot be imported: ModuleNotFoundError: No module named"),
        ("missing", "`far_shapes:Hexagon` cannot be imported: AttributeError"),
        ("leaving", "`far_shapes_leaving:Leaving` cannot be imported: SystemExit: bye"),
        ("line", "cannot be imported: AttributeError"),
    ],
)
def test_a_member_that_cannot_be_imported_names_path_and_cause(name, reason):
    with pytest.raises(ConfigError, match=reason):
        SHAPES.find(name)


@pytest.mark.parametrize(
    "path", ["far_shapes:", ":Circle", "far_shapes:No", "no_such:Thing", "a b:c", "..x:y"]
)
def test_an_import_path_that_leads_nowhere_is_refused(path):
    with pytest.raises(ConfigError, match="cannot be imported"):
        SHAPES.find_or_import(path)


def test_an_import_path_is_refused_at_any_depth_of_what_a_file_holds():
    drawing = {"shape": {"name": "far_shapes:Circle", "radius": 2.0}}
    with registered_only():
        with pytest.raises(
            ConfigError, match=r"shape\.name: shape 'far_shapes:Circle': expected a registered"
        ):
            Drawing.parse(drawing)
        assert "far_shapes" not in sys.modules
        assert Drawing.parse({"shape": {"name": "circle", "radius": 2.0}}).shape.radius == 2.0
    assert Drawing.parse(drawing).shape.radius == 2.0


def test_a_section_is_a_member_of_the_table_by_name_or_by_path():
    drawing = Drawing.parse({"shape": {"name": "circle", "radius": 2.0}})
    assert type(drawing.shape).__name__ == "Circle"
    assert Drawing.parse({"shape": {"name": "far_shapes:Circle", "radius": 2.0}}).shape.radius == 2.0
    assert drawing.as_tree() == {"shape": {"name": "circle", "radius": 2.0}, "kind": None}
    assert Drawing.parse(drawing.as_tree()) == drawing


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            {"name": "circel"},
            r"^params\.yaml: shape\.name: shape 'circel': expected one of circle.*found 'circel'$",
        ),
        ({}, r"shape\.name: expected one of square, line,.* found null"),
        ({"name": 3}, r"shape\.name: expected one of .* found 3"),
        ("square", r"shape\.name: expected one of .* found 'square'"),
        ({"name": "square"}, r"^params\.yaml: shape\.side: missing\. Add it"),
        ({"name": "square", "side": "1"}, r"shape\.side: Input should be a valid number, found '1'"),
        (
            {"name": "square", "side": 1, "sid": 2},
            r"shape\.sid: unknown key; expected one of side, name\. Remove",
        ),
        ({"name": "os:getcwd"}, r"shape\.name: shape 'os:getcwd': expected the class of its section"),
        (
            {"name": "json:JSONDecoder"},
            r"shape\.name: shape 'json:JSONDecoder': expected the class of its section",
        ),
        ({"name": "broken"}, r"shape\.name: shape 'broken': .* cannot be imported: ModuleNotFoundError"),
    ],
)
def test_what_is_wrong_in_a_section_is_named_by_key_path(shape, message):
    with pytest.raises(ConfigError, match=message):
        Drawing.parse({"shape": shape})


@pytest.mark.parametrize("path", ["json:dumps", "json:JSONDecoder", "sys:maxsize"])
def test_what_is_no_section_is_refused(path):
    expected = (
        f"shape '{path}': expected the class of its section, a subclass of sacpipe.core.config.Config, not"
    )
    with pytest.raises(ConfigError, match=expected):
        SHAPES.find_or_import(path)
    with pytest.raises(ConfigError, match=rf"^params\.yaml: shape\.name: {expected}"):
        Drawing.parse({"shape": {"name": path}})


def test_an_import_path_without_its_colon_is_explained():
    with pytest.raises(ConfigError, match="; an import path has a colon, as `far_shapes:Circle`"):
        SHAPES.find_or_import("far_shapes.Circle")


class Fixed(Config):
    """A copy of a member of ours, whose name is still fixed."""

    name: Literal["fixed"]


def test_a_class_with_a_fixed_name_says_what_an_import_path_needs():
    with pytest.raises(
        ConfigError, match=r"shape\.name: shape: an import path needs a class with the field `name: str`"
    ):
        Drawing.parse({"shape": {"name": f"{__name__}:Fixed"}})
