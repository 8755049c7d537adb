"""MLflow's registry as a source of bundles, by its REST API alone: the robot needs no MLflow.

    registered-models/alias, model-versions/get    alias or number to a version with its tags and its model
    model-versions/search                          the barred versions, in one request for each 50 of them
    logged-models/ID                               model to the location of its artifacts
    mlflow-artifacts/artifacts                     names, then bytes, of the bundle's files at that location

Only metadata and bytes are fetched: no registered code is executed. A download is limited to the maximum
size of a bundle's file, and a whole look to 300 s (sacpipe/rollout/http_fetch.py). No redirection is
followed, and the credentials go to one server only. MLflow's environment variables: MLFLOW_TRACKING_URI,
_TOKEN, _USERNAME, _PASSWORD, _SERVER_CERT_PATH.
"""

import base64
import json
import os
import ssl
import urllib.parse
from collections.abc import Mapping
from http import HTTPStatus
from typing import TypeVar

from pydantic import AliasPath, BaseModel, ConfigDict, Field, ValidationError

from sacpipe.bundle.files import MAX_BYTES, check_names, check_size, under_rule
from sacpipe.core.errors import BundleError, ConfigError, GateError, StoreError, StoreUnavailableError
from sacpipe.rollout.http_fetch import Answer, Fetcher, Look
from sacpipe.rollout.registries import SCHEME, Address
from sacpipe.rollout.sources import ResolvedBundle, Source
from sacpipe.tracking.registry import BARRED_TAG, BUNDLE_TAG, check_allowed, checked_digest

_FOLDER = "bundle"
"""Folder of the bundle in the artifacts of a model."""
_MAX_ANSWER_BYTES = 2**20
_PAGE = 50
"""Number of versions in an answer of a search."""
_MAX_PAGES = 20
"""Number of answers of one search that are read; the versions that changed last come first."""
_MAX_PAGE_BYTES = 2**23
"""Of versions whose description and tags have the longest texts that a registry keeps."""


class _Answer(BaseModel):
    """Part of an answer of MLflow; other keys are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


_A = TypeVar("_A", bound=_Answer)


class _Tag(_Answer):
    key: str
    value: str


class _Tagged(_Answer):
    tags: list[_Tag] = []

    def tag(self, name: str) -> str:
        """Return the value of a tag; empty where there is none."""
        return next((tag.value for tag in self.tags if tag.key == name), "")


class _Version(_Tagged):
    version: str = Field(validation_alias=AliasPath("model_version", "version"), pattern="^[0-9]{1,18}$")
    source: str = Field(validation_alias=AliasPath("model_version", "source"))
    tags: list[_Tag] = Field(default=[], validation_alias=AliasPath("model_version", "tags"))


class _Page(_Answer):
    model_versions: list[_Tagged] = []
    next_page_token: str = ""


class _Model(_Answer):
    artifact_uri: str = Field(validation_alias=AliasPath("model", "info", "artifact_uri"))


class _File(_Answer):
    path: str
    is_dir: bool = False
    file_size: int = 0


class _Files(_Answer):
    files: list[_File] = []


class MlflowSource(Source):
    """Source of an alias, or a version, of a registered policy.

    Args:
        address: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        environment: Environment variables of MLflow.

    Raises:
        ConfigError: MLFLOW_TRACKING_URI is not an http(s) address, or the certificate cannot be read.
    """

    def __init__(self, address: Address, environment: Mapping[str, str] = os.environ) -> None:
        self._address = address
        self._server = _Server(environment)

    def resolve(self) -> ResolvedBundle:
        """Ask MLflow which version the address names now.

        Raises:
            GateError: the version is barred, or has no bundle of sacpipe.
            StoreError: there is no such version, or MLflow failed.
        """
        address = self._address
        path, key = (
            ("registered-models/alias", "alias") if address.is_alias else ("model-versions/get", "version")
        )
        query = {"name": address.name, key: address.which}
        look = Look()
        version = self._server.ask(_Version, f"mlflow/{path}", query, look)
        text = f"{address} version {version.version}"
        check_allowed(text, version.tag(BARRED_TAG))
        digest = checked_digest(text, version.tag(BUNDLE_TAG))
        return ResolvedBundle(digest, text, lambda: self._read(text, version, look))

    def bars(self, known: Mapping[str, str]) -> dict[str, str]:
        """Ask MLflow for the barred versions, and for each bundle whose bar was lifted.

        One request for each 50 barred versions, and one for each bundle that is barred in `known` alone.
        """
        look = Look()
        found = self._search(f"tag.`{BARRED_TAG}` != ''", look)
        lifted = [digest for digest, text in known.items() if text and digest not in found]
        for digest in lifted:  # unless there is no such version any more
            found |= self._search(f"tag.`{BUNDLE_TAG}` = '{digest}'", look)
        return {digest: text for digest, text in found.items() if digest in known}

    def _search(self, condition: str, look: Look) -> dict[str, str]:
        """Return the bars of the policy's versions that meet a condition, by the digests of their bundles."""
        name = self._address.name
        quote = '"' if "'" in name else "'"
        query = {"filter": f"name = {quote}{name}{quote} AND {condition}", "max_results": str(_PAGE)}
        path = "mlflow/model-versions/search"
        found: dict[str, str] = {}
        for _ in range(_MAX_PAGES):
            page = self._server.ask(_Page, path, query, look, max_bytes=_MAX_PAGE_BYTES)
            found |= {one.tag(BUNDLE_TAG): one.tag(BARRED_TAG) for one in page.model_versions}
            if not page.next_page_token:
                break
            query["page_token"] = page.next_page_token
        return found

    def _read(self, text: str, version: _Version, look: Look) -> dict[str, bytes]:
        """Download a version's bundle.

        Raises:
            GateError: by the rules `files` and `size`.
            StoreError: MLflow failed, or only its own client can read the artifacts.
        """
        try:
            return self._download(self._artifacts(version, look), look)
        except BundleError as exc:
            raise GateError(f"{text}: {exc}", exc.rule or "files") from exc

    def _artifacts(self, version: _Version, look: Look) -> str:
        """Return the path of the bundle in the server's artifacts."""
        location = version.source
        if location.startswith(SCHEME):
            model = urllib.parse.quote(location.removeprefix(SCHEME), safe="")
            location = self._server.ask(_Model, f"mlflow/logged-models/{model}", {}, look).artifact_uri
        try:
            parts = urllib.parse.urlsplit(location)
        except ValueError:  # as of `//[`
            parts = urllib.parse.urlsplit("")
        if parts.scheme != "mlflow-artifacts" or parts.netloc not in ("", self._server.netloc):
            raise StoreError(
                f"MLflow at {self._server.uri}: expected artifacts that the server itself serves, found "
                f"'{location[:200]}'. Start it with --serve-artifacts, or bring the bundle as a folder."
            )
        return f"{parts.path.strip('/')}/{_FOLDER}"

    def _download(self, folder: str, look: Look) -> dict[str, bytes]:
        listed = self._server.ask(_Files, "mlflow-artifacts/artifacts", {"path": folder}, look).files
        with under_rule("files"):
            check_names(names := [file.path for file in listed])
            if len(set(names)) != len(names):
                raise BundleError("expected each file once, found one twice. Register the bundle again.")
        for file in listed:
            check_size(file.path, file.file_size)
        path = f"mlflow-artifacts/artifacts/{urllib.parse.quote(folder)}"
        return {
            file.path: self._server.fetch(f"{path}/{file.path}", MAX_BYTES[file.path], look)
            for file in listed
        }


class _Server:
    """A tracking server with our credentials."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.uri = environment.get("MLFLOW_TRACKING_URI", "").rstrip("/")
        try:
            parts = urllib.parse.urlsplit(self.uri)
        except ValueError:
            parts = urllib.parse.urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ConfigError(
                "MLFLOW_TRACKING_URI: expected the address of a tracking server, http(s)://HOST:PORT, with "
                "the user in MLFLOW_TRACKING_USERNAME; found none. Or name a bundle's folder."
            )
        self.netloc = parts.netloc
        certificate = environment.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
        try:
            context = ssl.create_default_context(cafile=certificate)
        except OSError as exc:
            raise ConfigError(
                f"MLFLOW_TRACKING_SERVER_CERT_PATH: {certificate} cannot be read: {exc}."
            ) from exc
        self._fetcher = Fetcher(context, _authorization(environment))

    def ask(
        self,
        form: type[_A],
        path: str,
        query: Mapping[str, str],
        look: Look,
        *,
        max_bytes: int = _MAX_ANSWER_BYTES,
    ) -> _A:
        """Return an answer of the server in JSON.

        Args:
            form: Model of the answer.
            path: Path below `/api/2.0/`.
            query: Query parameters.
            look: Time that is left.
            max_bytes: Maximum size of the answer.

        Raises:
            StoreError: the server refuses, or its answer has another form.
        """
        full = f"{path}?{urllib.parse.urlencode(query)}" if query else path
        data = self.fetch(full, max_bytes, look)
        try:
            return form.model_validate_json(data)
        except ValidationError as exc:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
                for fault in exc.errors(include_url=False)
            )
            raise StoreError(
                f"MLflow at {self.uri} gave another answer than expected: {faults[:300]}.", "form"
            ) from exc

    def fetch(self, path: str, max_bytes: int, look: Look) -> bytes:
        """Return the bytes of an answer.

        Args:
            path: Path below `/api/2.0/`, with the query.
            max_bytes: Maximum size of the answer.
            look: Time that is left.

        Raises:
            BundleError: the answer is larger.
            StoreError: the server refuses; StoreUnavailableError where it does not answer in time.
        """
        try:
            answer = self._fetcher.fetch(f"{self.uri}/api/2.0/{path}", max_bytes, look)
        except BundleError as exc:
            raise BundleError(f"{path}: {exc}", exc.rule) from exc
        except StoreUnavailableError as exc:
            raise StoreUnavailableError(f"MLflow at {self.uri} does not answer ({exc}).", exc.code) from exc
        if answer.status == HTTPStatus.OK:
            return answer.body
        kind = StoreUnavailableError if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR else StoreError
        text = f"MLflow at {self.uri} refuses {path}: {answer.status} {_reason(answer)}."
        raise kind(text, str(answer.status))


def _authorization(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the header with the credentials: as in MLflow's client, a password precedes a token."""
    user, password = (environment.get(f"MLFLOW_TRACKING_{name}") for name in ("USERNAME", "PASSWORD"))
    if user and password:
        return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    token = environment.get("MLFLOW_TRACKING_TOKEN", "").strip()
    if not token.isascii() or not token.isprintable():
        raise ConfigError("MLFLOW_TRACKING_TOKEN: expected one line of ASCII, found something else.")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _reason(answer: Answer) -> str:
    """Return the reason that MLflow gives for a refusal."""
    try:
        message = str(json.loads(answer.body)["message"])
        return " ".join(message.split())[:300].rstrip(".")
    except (ValueError, KeyError, TypeError, RecursionError):
        return answer.reason[:100]
