"""current.json is read as it is or refused with the reason; what is lost is recovered from whole evidence alone."""

import json

import pytest

from sacpipe.core.errors import BundleError
from sacpipe.rollout.store_state import EMPTY, FoundState, StoredBundle, StoreState, read_state, recover_state

FIRST, SECOND, THIRD = (letter * 64 for letter in "abc")
DO = "Move the file away to start without a current bundle; the bundles themselves stay."


def refused(path) -> str:
    with pytest.raises(BundleError) as refusal:
        read_state(path)
    assert refusal.value.rule == "store"
    return str(refusal.value)


@pytest.fixture
def write(tmp_path):
    """Return a function that writes the evidence of a bundle that a store has."""

    def write_evidence(digest, outcome, ended_unix_s):
        (tmp_path / "sha256" / digest).mkdir(parents=True, exist_ok=True)
        (tmp_path / "evidence").mkdir(exist_ok=True)
        tree = {
            "format_version": 2,
            "bundle_digest": digest,
            "source": f"from {digest[0]}",
            "outcome": outcome,
            "reason": f"why {digest[0]}",
            "ended_unix_s": ended_unix_s,
        }
        (tmp_path / "evidence" / f"{digest}.json").write_text(json.dumps(tree))

    return write_evidence


def recovered(tmp_path) -> StoreState:
    return recover_state(tmp_path / "evidence", tmp_path / "sha256")


class TestReading:
    def test_a_whole_state(self, tmp_path):
        history = (StoredBundle(bundle_digest=FIRST, source="here"),)
        state = StoreState(format_version=2, history=history, bad={SECOND: "it fell"}, on_trial={THIRD: 1})
        (tmp_path / "current.json").write_text(json.dumps(state.as_tree()))
        assert read_state(tmp_path / "current.json") == FoundState(state, None)

    def test_a_state_that_is_not_there_is_empty_and_not_torn(self, tmp_path):
        assert read_state(tmp_path / "current.json") == FoundState(EMPTY, None)

    @pytest.mark.parametrize("torn", [b"", b"null", b'{"bad"', b"[" * 100_000])
    def test_a_torn_state_is_empty_and_keeps_its_bytes(self, tmp_path, torn):
        (tmp_path / "current.json").write_bytes(torn)
        assert read_state(tmp_path / "current.json") == FoundState(EMPTY, torn)

    def test_the_reason_is_what_the_system_says(self, tmp_path):
        assert refused(tmp_path) == (
            f"{tmp_path}: expected what docs/robot-store.md describes, found [Errno 22] expected a regular file, "
            f"found something else: '{tmp_path}'. {DO}"
        )

    def test_the_reason_names_the_key(self, tmp_path):
        path = tmp_path / "current.json"
        path.write_text('{"format_version": 1, "history": [], "bad": {}}')
        text = refused(path)
        assert text.startswith(
            f"{path}: expected what docs/robot-store.md describes, found 1 validation error"
        )
        assert "format_version" in text
        assert text.endswith(f". {DO}")


class TestRecovery:
    def test_the_newest_first(self, tmp_path, write):
        for digest, ended_unix_s in ((FIRST, 20.0), (SECOND, 30.0), (THIRD, 10.0)):
            write(digest, "accepted", ended_unix_s)
        assert [(item.bundle_digest, item.source) for item in recovered(tmp_path).history] == [
            (SECOND, "from b"),
            (FIRST, "from a"),
            (THIRD, "from c"),
        ]

    def test_evidence_without_its_bundle_makes_none_current(self, tmp_path, write):
        write(FIRST, "accepted", 1.0)
        write(SECOND, "accepted", 2.0)
        (tmp_path / "sha256" / SECOND).rmdir()
        assert [item.bundle_digest for item in recovered(tmp_path).history] == [FIRST]

    def test_torn_evidence_does_not_hide_the_others(self, tmp_path, write):
        for digest in (FIRST, SECOND, THIRD):
            write(digest, "rejected", 1.0)
        (tmp_path / "evidence" / f"{FIRST}.json").write_bytes(b"{")
        write(SECOND, "unheard of", 1.0)
        assert recovered(tmp_path) == StoreState(format_version=2, history=(), bad={THIRD: "why c"})

    def test_the_only_bundle_is_current_where_no_evidence_names_it(self, tmp_path):
        (tmp_path / "sha256" / FIRST).mkdir(parents=True)
        (tmp_path / "sha256" / f"{SECOND}.tmp").mkdir()
        (item,) = recovered(tmp_path).history
        assert (item.bundle_digest, item.source) == (FIRST, "unknown, recovered from the store")
        (tmp_path / "sha256" / SECOND).mkdir()
        assert recovered(tmp_path) == EMPTY
