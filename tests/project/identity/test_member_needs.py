"""What a run depends on through members: the files of own ones, the packages of installed ones."""

import importlib
import sys

import pytest

from sacpipe.core.config import Config
from sacpipe.core.members import Members, member_field
from sacpipe.project.identity import versions
from sacpipe.project.identity.members import members_of
from sacpipe.project.identity.needs import member_needs

LEARNER = (
    "import my_gains, yaml\nfrom sacpipe.core.config import Config\nclass Learner(Config):\n    name: str\n"
)
PACKAGE = "from sacpipe.core.config import Config\nclass Sampler(Config):\n    name: str\n"


class Ours(Config):
    name: str


ALL = Members("part", "tests.parts", {"ours": f"{__name__}:Ours"})


class Section(Config):
    part: member_field(ALL)
    parts: tuple[member_field(ALL), ...] = ()
    by_name: dict[str, Ours]
    nothing: None = None


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project with an own learner, and a package in an installation."""
    project, installed = tmp_path / "project", tmp_path / "lib" / "site-packages"
    editable = tmp_path / "editable"
    files = {
        project / "my_learner.py": LEARNER,
        project / "my_gains.py": "",
        project / "my_other.py": "",
        editable / "far_guards.py": "import far_limits\nfrom sacpipe.core import seeding\n" + PACKAGE,
        editable / "far_limits.py": "",
        installed / "far_samplers" / "__init__.py": PACKAGE,
        installed
        / "Far_Samplers-2.0.dist-info"
        / "METADATA": "Metadata-Version: 2.1\nName: Far_Samplers\nVersion: 2.0\n",
        installed / "Far_Samplers-2.0.dist-info" / "top_level.txt": "far_samplers\n",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for folder in (project, installed, editable):
        monkeypatch.syspath_prepend(str(folder))
    versions._distributions.cache_clear()
    yield project
    versions._distributions.cache_clear()
    for name in [name for name in sys.modules if name.startswith(("my_", "far_"))]:
        del sys.modules[name]


def needs(root, *names):
    for name in names:
        importlib.import_module(name)
    return member_needs(root, names)


def test_modules_of_all_sections_and_of_lists_below_them_are_found(root):
    section = Section.parse(
        {
            "part": {"name": "my_learner:Learner"},
            "parts": [{"name": "ours"}, {"name": "far_samplers:Sampler"}],
            "by_name": {"one": {"name": "x"}},
        }
    )
    assert members_of(section, None, 3) == (__name__, "my_learner", "far_samplers")


@pytest.mark.slow
def test_file_of_an_own_member_and_what_it_imports_are_named(root):
    found = needs(root, "my_learner")
    assert found.files == {"my_learner.py", "my_gains.py"}
    assert found.packages == {"pyyaml"}


@pytest.mark.slow
def test_distribution_of_an_installed_member_is_named_and_none_of_its_files(root):
    found = needs(root, "far_samplers")
    assert (found.files, found.packages) == (frozenset(), {"far-samplers"})


def test_member_in_a_folder_elsewhere_is_named_by_its_path_with_the_product_it_imports(root):
    found = needs(root, "far_guards")
    folder = root.parent / "editable"
    assert found.files == {str(folder / "far_guards.py"), str(folder / "far_limits.py")}


def test_members_of_the_product_are_followed_elsewhere(root):
    assert needs(root, "sacpipe.core.config").files == frozenset()


def test_nothing_is_needed_without_members(root):
    assert needs(root) == member_needs(root, ())
    assert not member_needs(root, ()).files | member_needs(root, ()).packages
