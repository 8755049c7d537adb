"""A tracker of another package that fails: the run defers it as it does a store of its own."""

import pytest

from sacpipe.core.errors import StoreError, StoreUnavailableError
from sacpipe.project.workspace import Workspace
from sacpipe.tracking.chosen import chosen_tracker, open_ledger

SOURCE = """
from sacpipe.tracking.tracker import Tracker, TrackerConfig

class Theirs(TrackerConfig):
    name: str
    def open_tracker(self, state, variables):
        if "NOT_OPENED" in variables:
            raise ValueError("not opened")
        return Opened()
    def put_unusable_aside(self, state, variables):
        raise KeyError("aside")

class Opened(Tracker):
    @property
    def registry(self):
        raise KeyError("registry")
    def find_run(self, stage_key):
        raise KeyError("find_run")
    def check(self):
        raise ConnectionResetError("reset")
"""


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    (tmp_path / "their_tracker.py").write_text(SOURCE)
    (tmp_path / "sacpipe.yaml").write_text("tracking: their_tracker:Theirs\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("SACPIPE_TRACKING", raising=False)
    return Workspace(tmp_path)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda tracker: tracker.find_run("a"), StoreError, "KeyError: 'find_run'"),
        (lambda tracker: tracker.registry, StoreError, "KeyError: 'registry'"),
        (lambda tracker: tracker.check(), StoreUnavailableError, "ConnectionResetError: reset"),
    ],
)
def test_an_error_of_a_tracker_is_a_store_error_that_names_it(workspace, call, kind, text):
    with pytest.raises(kind, match=f"tracker 'their_tracker:Theirs' raised {text}"):
        call(open_ledger(workspace))


def test_an_error_of_its_section_is_a_store_error_too(workspace, monkeypatch):
    with pytest.raises(StoreError, match="tracker 'their_tracker:Theirs' raised KeyError: 'aside'"):
        chosen_tracker(workspace).put_unusable_aside(workspace.state, {})
    monkeypatch.setenv("NOT_OPENED", "1")
    with pytest.raises(StoreError, match="tracker 'their_tracker:Theirs' raised ValueError: not opened"):
        open_ledger(workspace)
