"""The file of --terms: what it leaves out is the default, what it says wrongly is refused."""

import re

import pytest
from repository import ROOT
from ruamel.yaml import YAML

from sacpipe.core.errors import ConfigError
from sacpipe.rollout.follow_settings import FollowSettings

KEY = "ab" * 32


@pytest.fixture
def read(tmp_path):
    def parse(text):
        (tmp_path / "terms.yaml").write_text(text)
        return FollowSettings.read(tmp_path / "terms.yaml")

    return parse


def test_without_a_file_they_are_what_the_docs_show():
    page = (ROOT / "docs" / "serving.md").read_text()
    (shown,) = re.findall(r"```yaml\n(poll_s:.*?)```", page, re.DOTALL)
    assert YAML(typ="safe").load(shown) == FollowSettings.DEFAULT
    assert FollowSettings.read(None).as_tree() == FollowSettings.DEFAULT


def test_what_a_file_leaves_out_is_the_default(read):
    settings = read("poll_s: 1.5\nrollout: {watch_s: 0}\n")
    assert (settings.poll_s, settings.rollout.watch_s, settings.rollout.shadow_s) == (1.5, 0.0, 30.0)


def test_a_key_may_be_in_a_file_beside_it(read, tmp_path):
    (tmp_path / "team.pub").write_text(f"{KEY}\n")
    assert read(f"gate: {{public_keys: [team.pub, '{KEY[::-1]}']}}").gate.public_keys == (KEY, KEY[::-1])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("poll: 1", "poll: unknown key; expected one of poll_s, gate, keep, retry_s, rollout"),
        ("rollout: {shadow_s: -1}", "rollout.shadow_s: Input should be greater than or equal to 0, found -1"),
        ("gate: 7", "gate: "),
        ("gate: {require_signature: true}", "require_signature needs at least one key"),
        ("gate: {public_keys: [missing.pub]}", "found 'missing.pub'"),
        ("keep: 1", "keep: Input should be greater than or equal to 2"),
    ],
)
def test_what_is_wrong_is_named(read, text, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        read(text)
