"""Each change of a state is one event: failing, failing in another way, fine again, and failing again."""

import itertools
import shutil
import sys

import pytest
from follow_fixtures import name

from sacpipe.bundle.files import bundle_digest
from sacpipe.core.errors import ConfigError, GateError, StorageError, StoreError, StoreUnavailableError
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.follow_events import EventLog, State
from sacpipe.rollout.sources import PathSource
from sacpipe.server.prometheus import _follower_lines

DOWN = StoreUnavailableError("MLflow at there does not answer (refused).", "refused")
SLOW = StoreUnavailableError("MLflow at there does not answer (too slow).", "too slow")
FORBIDDEN = StoreError("MLflow at there refuses: 403 not you.", "403")
GONE = StoreError("MLflow at there refuses: 404 gone.", "404")
NO_DIGEST = GateError("there: expected a digest in the tag.", "digest")
NO_BUNDLE = GateError("there: expected a bundle, found none.", "files")
FOREIGN = KeyError("answer")
OTHER_FOREIGN = RecursionError("too deep")


def test_a_state_reports_changes_alone():
    log = EventLog()
    state = State(log, "recovered")
    state.recover("", "", "never failed")
    for _ in range(2):
        for failure in ("a", "a", "b", "b", "a"):
            state.fail(failure, "failed", "", "", failure)
        assert not state.is_fine
        state.recover("", "", "fine")
        state.recover("", "", "fine")
    kinds = [event.text for event in reversed(log.events)]
    assert kinds == ["a", "b", "a", "fine", "a", "b", "a", "fine"]
    assert log.counts == {"failed": 6, "recovered": 2}


@pytest.mark.parametrize(
    ("faults", "kinds"),
    [
        ([DOWN, None, DOWN, None], ["unreachable", "reachable", "unreachable", "reachable"]),
        ([DOWN, SLOW, DOWN, None], ["unreachable", "unreachable", "unreachable", "reachable"]),
        ([FORBIDDEN, None, FORBIDDEN, None], ["failed", "recovered", "failed", "recovered"]),
        ([FORBIDDEN, GONE, None], ["failed", "failed", "recovered"]),
        ([NO_DIGEST, NO_BUNDLE, None, NO_DIGEST], ["refused", "refused", "recovered", "refused"]),
        ([FORBIDDEN, DOWN, FORBIDDEN, None], ["failed", "unreachable", "reachable", "recovered"]),
        ([FOREIGN, OTHER_FOREIGN, None, FOREIGN], ["error", "error", "recovered", "error"]),
        ([ConfigError("no such certificate."), None], ["failed", "recovered"]),
        ([StorageError("the disk is full."), None], ["failed", "recovered"]),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value[0], str) else "",
)
def test_each_change_of_the_source_is_one_event_also_the_second_time(following, faults, kinds):
    with following() as robot:
        for fault in faults:
            robot.source.fault = fault
            robot.looked()
            robot.looked()
        assert robot.kinds == ["started", *kinds]


def test_a_bundle_that_is_refused_again_after_the_old_one_was_named_is_reported_again(
    following, named, bundles, tmp_path
):
    torn = shutil.copytree(bundles[1], tmp_path / "torn")
    (torn / "policy.onnx").write_bytes(b"torn")
    with following(retry_s=1e6) as robot:
        for bundle in (torn, bundles[0], torn, bundles[0]):
            name(bundle, named)
            robot.looked()
            robot.looked()
        assert robot.kinds == ["started", *["noticed", "refused", "recovered"] * 2]


@pytest.mark.slow
def test_a_bundle_that_is_refused_in_another_way_and_then_taken(following, named, bundles, tmp_path):
    torn = shutil.copytree(bundles[1], tmp_path / "torn")
    (torn / "policy.onnx").write_bytes(b"torn")
    name(torn, named)
    (torn / "contract.json").rename(tmp_path / "contract.json")
    name(bundles[0], named)
    with following() as robot:
        name(torn, named)
        robot.looked()
        (tmp_path / "contract.json").rename(torn / "contract.json")
        robot.looked()
        shutil.copyfile(bundles[1] / "policy.onnx", torn / "policy.onnx")
        robot.until(lambda state: state.counts.get("accepted") == 1)
        expected = ["refused", "noticed", "recovered", "refused", "recovered", "shadow", "watch", "accepted"]
        assert robot.kinds == ["started", *expected]


def test_the_time_of_the_last_good_look_stands_still_while_the_source_fails(following):
    with following() as robot:
        robot.looked()
        first = robot.follower.status().last_look_unix_s
        robot.looked()
        assert robot.follower.status().last_look_unix_s > first > 1e9
        for fault in (DOWN, FORBIDDEN, FOREIGN):
            robot.source.fault = fault
            robot.looked()
            last = robot.follower.status().last_look_unix_s
            robot.looked()
            assert robot.follower.status().last_look_unix_s == last
        assert robot.follower.status().errors > 1
        text = "\n".join(_follower_lines(robot.follower.status()))
        assert f"\nsacpipe_follow_last_look_seconds {last}\n" in text
        assert "\nsacpipe_follow_errors_total " in text


@pytest.mark.slow
def test_an_error_of_a_phase_is_reported_counted_and_tried_again(following, named, bundles, monkeypatch):
    with following() as robot:
        tries = itertools.count()
        swap = robot.service.swap

        def fail_once(policy):
            if next(tries) == 0:
                raise ZeroDivisionError("no swap today")
            swap(policy)

        monkeypatch.setattr(robot.service, "swap", fail_once)
        name(bundles[1], named)
        robot.until(lambda state: state.counts.get("accepted") == 1)
        status = robot.follower.status()
        assert robot.kinds == ["started", "noticed", "shadow", "withdrawn", "shadow", "watch", "accepted"]
        assert status.errors == 1
        assert "it cannot be watched: no swap today" in status.events[3].text


@pytest.mark.slow
def test_a_bundle_that_errors_end_again_and_again_is_refused_by_a_rule(
    following, named, bundles, monkeypatch
):
    with following() as robot:
        monkeypatch.setattr(robot.service, "swap", lambda _: 1 / 0)
        name(bundles[1], named)
        robot.until(lambda state: "refused" in state.counts)
        robot.looked()
        status = robot.follower.status()
        assert (status.counts["withdrawn"], status.counts["refused"]) == (3, 1)
        assert status.events[0].text.startswith("refused by the rule 'store': errors ended 3 of its rollouts")
        assert robot.service.policy.digest == bundle_digest(bundles[0])


@pytest.mark.slow
def test_a_thread_that_cannot_be_started_is_reported_and_tried_again(following, named, bundles, monkeypatch):
    def no_thread(*_):
        raise RuntimeError("can't start new thread")

    with following() as robot:
        with monkeypatch.context() as patch:
            patch.setattr("sacpipe.rollout.phases.Shadow", no_thread)
            name(bundles[1], named)
            robot.looked()
            robot.looked()
        robot.until(lambda state: state.counts.get("accepted") == 1)
        expected = ["noticed", "error", "recovered", "shadow", "watch", "accepted"]
        assert robot.kinds == ["started", *expected]
        assert robot.follower.status().errors > 1


@pytest.mark.slow
@pytest.mark.parametrize("is_closed", [False, True], ids=["none", "closed"])
def test_a_follower_goes_on_without_stderr(following, named, bundles, monkeypatch, is_closed, tmp_path):
    stream = (tmp_path / "err").open("w") if is_closed else None
    if stream is not None:
        stream.close()
    with following() as robot:
        monkeypatch.setattr(sys, "stderr", stream)
        robot.source.fault = FOREIGN
        robot.looked()
        robot.source.fault = None
        name(bundles[1], named)
        robot.until(lambda state: state.counts.get("accepted") == 1)


@pytest.mark.slow
@pytest.mark.parametrize("folder_name", ["b\u00fcndel", "\udcff\udcfe", "two\nlines"], ids=ascii)
def test_a_name_that_no_json_can_hold_is_shown_with_escapes(following, named, bundles, tmp_path, folder_name):
    odd = shutil.copytree(bundles[1], tmp_path / folder_name)
    with following() as robot:
        robot.source.source = PathSource(odd, allow_hard_links=False)
        robot.until(lambda state: state.counts.get("accepted") == 1)
        status = robot.follower.status()
        robot.source.source = PathSource(tmp_path / f"{folder_name}-gone", allow_hard_links=False)
        robot.looked()
        for text in (status.source, *(event.source + event.text for event in robot.follower.status().events)):
            text.encode()
    with BundleStore(tmp_path / "store") as store:
        assert store.current().bundle_digest == bundle_digest(odd)
