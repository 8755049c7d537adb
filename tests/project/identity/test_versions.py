"""versions.lock names what is installed, and a difference is refused."""

import numpy as np
import pytest

from sacpipe.core.errors import ConfigError
from sacpipe.project.identity.versions import (
    NUMERIC,
    check_versions,
    distributions_of,
    installed_version,
    read_versions,
    write_versions,
)


def test_versions_are_those_of_the_packages_without_their_local_part(tmp_path):
    import torch

    write_versions(tmp_path, ["pyyaml"])
    found = read_versions(tmp_path)
    assert found["numpy"] == np.__version__
    assert found["torch"] == torch.__version__.partition("+")[0]
    assert set(found) == {*NUMERIC, "pyyaml"}
    check_versions(tmp_path)


def test_other_version_is_refused_and_lock_is_named(tmp_path):
    write_versions(tmp_path, [])
    path = tmp_path / "versions.lock"
    path.write_text(path.read_text().replace(installed_version("mujoco"), "3.16.1"))
    with pytest.raises(
        ConfigError, match=r"mujoco 3\.17\.\d is installed, 3\.16\.1 in versions.lock(.|\n)*`sacpipe lock`"
    ):
        check_versions(tmp_path)
    assert write_versions(tmp_path, []) == [f"mujoco: 3.16.1 -> {installed_version('mujoco')}"]


def test_new_package_is_added_and_the_others_stay(tmp_path):
    (tmp_path / "versions.lock").write_text('numpy: "1.0"\n')
    assert write_versions(tmp_path, ["pyyaml", "numpy"], keeps_known=True) == [
        f"pyyaml: new -> {installed_version('pyyaml')}"
    ]
    assert read_versions(tmp_path) == {"numpy": "1.0", "pyyaml": installed_version("pyyaml")}
    assert write_versions(tmp_path, ["pyyaml"], keeps_known=True) == []


def test_package_that_is_not_installed_is_no_difference(tmp_path):
    (tmp_path / "versions.lock").write_text('no-such-package: "1.0"\n')
    check_versions(tmp_path)


@pytest.mark.parametrize("text", [None, "numpy: 2.4\n", "- numpy\n"])
def test_file_that_cannot_be_used_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "versions.lock").write_text(text)
    with pytest.raises(ConfigError, match="versions.lock"):
        check_versions(tmp_path)


@pytest.mark.slow
def test_package_is_known_by_its_distribution():
    assert distributions_of(["yaml", "dm_control", "no_such_package"]) == {"pyyaml", "dm_control"}
    assert "ruamel-yaml" in distributions_of(["ruamel"])
