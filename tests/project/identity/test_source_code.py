"""Imports are followed through a folder's files, and no further."""

import pytest

from sacpipe.core.errors import ConfigError
from sacpipe.project.identity.source_code import source_code

FILES = {
    "stage.py": """
        import os, json
        import numpy as np
        from typing import TYPE_CHECKING
        from arm import links
        from arm.motors import MAX_TORQUE
        if TYPE_CHECKING:
            import never
        else:
            import otherwise
        def late():
            import helper
        class Body:
            from arm.body import MASS
        try:
            import scipy.signal
        except ImportError:
            pass
    """,
    "arm/__init__.py": '"""A package without code."""\n',
    "arm/links.py": "from . import joints\n",
    "arm/joints.py": "from .deep import inside as renamed\n",
    "arm/deep/__init__.py": "from arm.deep import inside\n",
    "arm/deep/inside.py": "from ..motors import MAX_TORQUE\nimport stage\n",
    "arm/motors.py": "MAX_TORQUE = 1\n",
    "arm/body.py": "",
    "arm/unused.py": "",
    "helper.py": "import torch.nn\n",
    "never.py": "",
}


@pytest.fixture
def root(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(line.removeprefix("        ") for line in text.splitlines()))
    return tmp_path


def test_all_ways_to_import_are_followed_and_type_checking_is_not(root):
    found = source_code(root, ["stage"])
    assert found.files == {
        "stage.py",
        "arm/links.py",
        "arm/joints.py",
        "arm/motors.py",
        "arm/body.py",
        "arm/deep/__init__.py",
        "arm/deep/inside.py",
        "helper.py",
    }
    assert found.packages == {"numpy", "scipy", "torch", "otherwise"}


def test_imports_of_a_file_that_does_not_count_are_not_followed(root):
    found = source_code(root, ["stage"], lambda path: path not in {"arm/links.py", "helper.py"})
    assert found.files == {"stage.py", "arm/motors.py", "arm/body.py"}
    assert found.packages == {"numpy", "scipy", "otherwise"}


def test_edit_is_seen_in_the_same_process(root):
    before = source_code(root, ["arm.body"])
    (root / "arm/body.py").write_text("import arm.unused\n")
    assert source_code(root, ["arm.body"]).files - before.files == {"arm/unused.py"}


def test_name_that_is_no_file_is_a_package():
    from pathlib import Path

    found = source_code(Path("/nowhere"), ["gymnasium.envs", "json.decoder"])
    assert (found.files, found.packages) == (frozenset(), frozenset({"gymnasium"}))


def test_file_that_is_not_python_is_named(root):
    (root / "helper.py").write_text("def (:\n")
    with pytest.raises(ConfigError, match=r"helper\.py is not valid Python"):
        source_code(root, ["stage"])
