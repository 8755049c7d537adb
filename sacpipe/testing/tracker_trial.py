"""One store on trial, whose trackers are opened again for every look, and the bundles to register in it."""

import contextlib
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from sacpipe.bundle.files import bundle_digest
from sacpipe.core.errors import BundleError, BusyError, ContractError, SacpipeError, StoreError
from sacpipe.core.files import sha256_bytes
from sacpipe.rollout.registries import Address
from sacpipe.rollout.sources import Source
from sacpipe.testing.tracked_bundles import example_bundle
from sacpipe.tracking.registry import Registry, VersionRecord
from sacpipe.tracking.tracker import Run, Tracker, TrackerConfig


@contextlib.contextmanager
def trial_of(config: TrackerConfig, variables: Mapping[str, str] | None) -> Iterator["Trial"]:
    """Open a tracker in a new folder, and put its name before what is wrong with it, its own errors too."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Trial(config, Path(folder), variables or {})
    except (ContractError, StoreError, BundleError, BusyError) as exc:
        raise ContractError(f"tracker '{config.name}': {exc}") from exc


class Trial:
    """One store, whose trackers are opened again for every look, and three bundles."""

    def __init__(self, config: TrackerConfig, folder: Path, variables: Mapping[str, str]) -> None:
        self.config, self.state, self.variables = config, folder / "state", dict(variables)
        self.bundles = [example_bundle(folder / f"bundle-{gain}", gain) for gain in (0.5, 0.25, 0.125)]
        self.folder = folder
        self.name = f"a policy.v1 {secrets.token_hex(4)}"
        self.writer = self.open()
        self._logged: dict[int, tuple[str, str]] = {}
        """Run and model id of each bundle that was registered, by its place among the bundles."""

    def open(self) -> Tracker:
        """Open the tracker again."""
        return self.config.open_tracker(self.state, self.variables)

    @property
    def reader(self) -> Registry:
        """The registry as another object reads it."""
        return self.open().registry

    def run(self, key: str) -> Run:
        """Return a run, read by another object."""
        found = self.open().find_run(key)
        if found is None:
            raise ContractError(f"find_run: expected the run of {key[:8]} after ensure_run, found none.")
        return found

    def begin(self) -> tuple[str, str]:
        """Begin a run of a new stage key; return its id and the key."""
        key = sha256_bytes(secrets.token_bytes(8))
        return self.writer.ensure_run(key, "export", {"seed": 1}, {}), key

    def register(self, bundle: int, name: str = "", number: int | None = None) -> VersionRecord:
        """Register one of the bundles, with a number or without one."""
        if bundle not in self._logged:
            run_id, _ = self.begin()
            self._logged[bundle] = (run_id, self.writer.log_model(run_id, self.bundles[bundle]))
        run_id, model_id = self._logged[bundle]
        digest, tags = bundle_digest(self.bundles[bundle]), {"note": f"of {bundle}"}
        registry = self.writer.registry
        return registry.register(name or self.name, model_id, run_id, digest, tags, number=number)

    def source(self, name: str, which: int | str) -> Source:
        """Return the source of an alias, or of a version by its number."""
        address = Address(name, str(which), is_alias=isinstance(which, str))
        return self.config.source(address, self.state, self.variables)


def require(what: str, expected: object, found: object) -> None:
    """Raise a ContractError where something else was found than expected."""
    if found != expected:
        raise ContractError(f"{what}: expected {expected!r:.300}, found {found!r:.300}.")


def require_error(what: str, kind: type[SacpipeError], call: Callable[[], object]) -> SacpipeError:
    """Return the error that a call raises; raise a ContractError where it raises none of this kind."""
    try:
        call()
    except kind as exc:
        return exc
    raise ContractError(f"{what}: expected a {kind.__name__}, found none.")
