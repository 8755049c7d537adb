"""An alias of a real MLflow server gives the registered bundle's bytes, and nothing else."""

import base64
import http.server
import json
import shutil
import threading
import urllib.parse

import pytest

from sacpipe.bundle.reader import open_bundle
from sacpipe.core.errors import BundleError, ConfigError, GateError, StoreError, StoreUnavailableError
from sacpipe.core.files import sha256_file
from sacpipe.rollout.registries import parse_address
from sacpipe.testing.trackers import check_registry
from sacpipe.tracking.mlflow.config import MlflowTracking
from sacpipe.tracking.mlflow.rest_source import MlflowSource


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_alias_is_resolved_once_to_a_version_and_its_bytes(registry, bundles):
    source = registry.source("models:/Reach@champion")
    with pytest.raises(StoreError, match=r"refuses .*: 400 Registered model alias champion not found\.$"):
        source.resolve()
    registry.registry.set_alias("Reach", "champion", 1)
    named = source.resolve()
    assert (named.digest, named.source) == (registry.digests[0], "models:/Reach@champion version 1")
    registry.registry.set_alias("Reach", "champion", 2)
    assert named.pull() == contents(bundles[0])  # the one it named then
    assert source.resolve().pull() == contents(bundles[1])


def test_a_servers_registry_keeps_the_contract_and_is_read_over_http(registry):
    check_registry(MlflowTracking(name="mlflow"), {"MLFLOW_TRACKING_URI": registry.uri})


def test_a_version_is_found_by_its_number(registry, bundles):
    named = registry.source("models:/Reach/2").resolve()
    assert (named.source, named.pull()) == ("models:/Reach/2 version 2", contents(bundles[1]))
    with pytest.raises(StoreError, match=f"MLflow at {registry.uri} refuses .*: 404 "):
        registry.source("models:/Reach/7").resolve()


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "golden.npz").write_bytes(b"0"),
        lambda folder: (folder / "contract.json").unlink(),
        lambda folder: (folder.parent / "model.onnx").write_bytes(b"0"),
        lambda folder: (folder.parent / "MLmodel").unlink(),
        lambda folder: (folder / "surprise.py").write_bytes(b"1"),
        shutil.rmtree,
    ],
)
def test_files_that_the_server_keeps_are_restored(registry, bundles, tmp_path, damage):
    record = registry.registry.version("Reach", 1)
    damage(registry.stored(registry.digests[0]))
    registry.registry.restore_files(record, bundles[0])
    registry.registry.set_alias("Reach", "restored", 1)
    assert registry.source("models:/Reach/1").resolve().pull() == contents(bundles[0])
    assert registry.registry.download(record, tmp_path)[1] == sha256_file(bundles[0] / "policy.onnx")
    assert registry.registry.smoke_load("Reach", "restored", open_bundle(bundles[0])) <= 1e-5


@pytest.mark.parametrize(
    ("name", "data", "rule"),
    [
        ("surprise.py", b"", "files"),
        ("manifest.sig", bytes(2000), "size"),
        ("manifest.json", b"{}", "digest"),
    ],
)
def test_what_was_put_among_its_files_is_refused(registry, name, data, rule):
    named = registry.source("models:/Reach/1").resolve()
    path = registry.stored(registry.digests[0]) / name
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(data)
    try:
        with pytest.raises(GateError, match=r"models:/Reach/1 version 1: ") as refusal:
            named.pull()
    finally:
        path.unlink() if before is None else path.write_bytes(before)
    assert refusal.value.rule == rule


class Recorder(http.server.BaseHTTPRequestHandler):
    """A server that is not MLflow: sends prepared answers, and records the requests."""

    answer: tuple[int, dict[str, str], bytes] = (200, {}, b"")
    seen: list[str | None]

    def do_GET(self):
        self.seen.append(self.headers["Authorization"])
        status, headers, body = self.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def other():
    """A server that is not MLflow, on loopback: (answer) -> its address."""

    class Handler(Recorder):
        seen = []  # noqa: RUF012 - of this server alone

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    server.handler, server.uri = Handler, f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


def find(server, **variables):
    return MlflowSource(
        parse_address("models:/Reach@champion"), {"MLFLOW_TRACKING_URI": server.uri} | variables
    ).resolve()


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        ((200, {}, b"<html>"), StoreError, "gave another answer than expected"),
        ((200, {}, b"{}"), StoreError, "model_version.version: Field required"),
        ((200, {}, b" " * 2**21), BundleError, "expected at most 1048576 bytes"),
        ((200, {"Content-Length": "9"}, b"{}"), StoreUnavailableError, "does not answer"),
        ((503, {}, b"later"), StoreUnavailableError, "refuses .*: 503"),
        ((403, {}, b'{"message": "not you"}'), StoreError, "refuses .*: 403 not you"),
        (
            (200, {}, b'{"model_version": {"version": "1", "source": "x"}}'),
            GateError,
            "rule 'digest': .* expected a digest in the tag sacpipe.bundle_digest, found ''",
        ),
    ],
)
def test_what_is_no_answer_of_mlflows_is_refused(other, answer, error, said):
    other.handler.answer = answer
    with pytest.raises(error, match=said):
        find(other)


def test_a_refusal_is_read_no_longer_than_an_answer(other):
    other.handler.answer = (403, {}, b'{"message": "not you"}' + b" " * 2**20)
    with pytest.raises(StoreError, match=r"refuses .*: 403 Forbidden\.$"):
        find(other)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"message": ' * 100_000, b"\xff", b"[]", b"1", b""])
def test_a_refusal_without_a_reason_is_a_refusal(other, body):
    other.handler.answer = (403, {}, body)
    with pytest.raises(StoreError, match=r"refuses .*: 403 Forbidden\.$") as refusal:
        find(other)
    assert refusal.value.code == "403"


VERSION = b'{"model_version": {"version": "1", "source": "%s", "tags": [{"key": "sacpipe.bundle_digest", "value": "%s"}]}}'


def test_a_place_that_is_no_address_is_refused(other):
    other.handler.answer = (200, {}, VERSION % (b"mlflow-artifacts://[", b"ab" * 32))
    with pytest.raises(StoreError, match=r"expected artifacts that the server itself serves, found 'mlflow"):
        find(other).pull()


def test_a_file_that_is_listed_twice_is_refused(other, bundles):
    other.handler.answer = (200, {}, VERSION % (b"mlflow-artifacts:/x", b"ab" * 32))
    named = find(other)
    files = [{"path": path.name, "file_size": 1} for path in bundles[0].iterdir()]
    other.handler.answer = (200, {}, json.dumps({"files": [*files, files[0]]}).encode())
    with pytest.raises(GateError, match="expected each file once, found one twice") as refusal:
        named.pull()
    assert refusal.value.rule == "files"


def test_credentials_go_to_the_server_and_nowhere_else(other):
    for variables in (
        {"MLFLOW_TRACKING_TOKEN": "secret"},
        {
            "MLFLOW_TRACKING_USERNAME": "me",
            "MLFLOW_TRACKING_PASSWORD": "p",
            "MLFLOW_TRACKING_TOKEN": "secret",
        },
        {},
    ):
        other.handler.answer = (302, {"Location": f"{other.uri}/elsewhere"}, b"")
        with pytest.raises(StoreError, match="refuses .*: 302") as refusal:
            find(other, **variables)
        assert "secret" not in str(refusal.value)
    basic = "Basic " + base64.b64encode(b"me:p").decode()
    assert other.handler.seen == ["Bearer secret", basic, None]  # one request each: none was followed


@pytest.mark.parametrize(
    "uri", ["", "sqlite:///x.db", "file:///x", "http://", "http://me:secret@localhost", "http://["]
)
def test_an_address_that_is_no_servers_is_refused(uri):
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI: expected the address") as refusal:
        MlflowSource(parse_address("models:/Reach/1"), {"MLFLOW_TRACKING_URI": uri})
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "name", "which", "is_alias"),
    [
        ("models:/Reach@champion", "Reach", "champion", True),
        ("models:/Reach/12", "Reach", "12", False),
        ("models:/a task - v0@7", "a task - v0", "7", True),
    ],
)
def test_an_address_is_read_and_written_as_it_was(text, name, which, is_alias):
    address = parse_address(text)
    assert (address.name, address.which, address.is_alias, str(address)) == (name, which, is_alias, text)


@pytest.mark.parametrize(
    "text",
    [
        "models:/Reach",
        "models:/@champion",
        "models:/Reach@",
        "models:/a/b/c",
        "models:/Reach/latest",
        "models:/Reach/-1",
        "models:/Reach/\u0661",
        "models:/Reach/1@champion",
        "models:/Reach@one@two",
        "models:/m:1@champion",
        "models:/Reach@\x1b[2J",
        "models:/Reach/1\n",
        "models:/" + "a" * 300 + "@champion",
        "models:Reach@champion",
        "Reach@champion",
        "",
    ],
)
def test_an_address_that_names_no_version_is_refused(text):
    with pytest.raises(ConfigError, match=r"expected models:/NAME@ALIAS or models:/NAME/VERSION, found"):
        parse_address(text)


def test_no_server_answers(other):
    with pytest.raises(
        StoreUnavailableError, match=r"MLflow at http://127.0.0.1:1 does not answer \(.*refused"
    ):
        MlflowSource(parse_address("models:/R/1"), {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}).resolve()


A, B, C = "a" * 64, "b" * 64, "c" * 64


def version_of(digest, bar):
    pairs = {"sacpipe.bundle_digest": digest, "sacpipe.barred": bar}
    return {"tags": [{"key": key, "value": value} for key, value in pairs.items()]}


@pytest.fixture
def searched(other):
    """A server that answers searches from a list of pages: (pages) -> the queries that it got."""

    def serve(pages):
        queries, left = [], iter(pages)

        def do_GET(handler):  # noqa: N802 - of the standard library
            queries.append(dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(handler.path).query)))
            body = json.dumps(next(left)).encode()
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)

        other.handler.do_GET = do_GET
        return queries

    return serve


def bars(server, known, name="Reach"):
    address = parse_address(f"models:/{name}@champion")
    return MlflowSource(address, {"MLFLOW_TRACKING_URI": server.uri}).bars(known)


def test_bars_are_one_request_and_one_more_for_each_bar_that_was_lifted(other, searched):
    queries = searched([{"model_versions": [version_of(A, "it shook"), version_of(C, "it fell")]}])
    assert bars(other, {A: "", B: ""}) == {A: "it shook"}
    filter_text = "name = 'Reach' AND tag.`sacpipe.barred` != ''"
    assert queries == [{"filter": filter_text, "max_results": "50"}]
    queries = searched([{}, {"model_versions": [version_of(A, "")]}, {}])
    assert bars(other, {A: "it shook", B: "", C: "it fell"}) == {A: ""}  # C is no version any more
    found = [query["filter"].partition(" AND ")[2] for query in queries]
    assert found == [
        "tag.`sacpipe.barred` != ''",
        f"tag.`sacpipe.bundle_digest` = '{A}'",
        f"tag.`sacpipe.bundle_digest` = '{C}'",
    ]


def test_many_bars_are_read_page_by_page_and_no_server_pages_without_end(other, searched):
    pages = [{"model_versions": [version_of(A, "one")], "next_page_token": "t"}]
    queries = searched([*pages, {"model_versions": [version_of(B, "two")]}])
    assert bars(other, {A: "", B: ""}) == {A: "one", B: "two"}
    assert [query.get("page_token") for query in queries] == [None, "t"]
    queries = searched(pages * 30)
    assert bars(other, {A: ""}) == {A: "one"}
    assert len(queries) == 20


def test_a_name_with_a_quote_is_searched(other, searched):
    queries = searched([{}])
    assert bars(other, {A: ""}, "Ann's arm") == {}
    assert queries[0]["filter"].startswith('name = "Ann\'s arm" AND ')


def test_the_servers_bars_are_searched_by_their_tags(registry):
    first, second = registry.digests
    source = registry.source("models:/Reach@nobody")
    assert source.bars({first: "", second: ""}) == {}
    registry.registry.set_version_tags("Reach", 2, {"sacpipe.barred": "it shook"})
    try:
        assert source.bars({first: "", second: ""}) == {second: "it shook"}
        assert source.bars({first: "it fell"}) == {first: ""}
    finally:
        registry.registry.set_version_tags("Reach", 2, {"sacpipe.barred": ""})
    assert source.bars({first: "", second: "it shook", C: "it is gone"}) == {second: ""}
