"""The simulated registry as a member that the registry's contract suite opens, with bundles of real bytes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sacpipe.bundle.files import read_files
from sacpipe.bundle.reader import parse_bundle
from sacpipe.tracking.registry import Registry
from sacpipe.tracking.tracker import Tracker, TrackerConfig
from simulated.processes import Process, Simulation
from simulated.registry import SimulatedRegistry
from simulated.store import Store

_STORES: dict[str, tuple[Store, Simulation]] = {}
"""The world of each folder: a tracker that is opened again reaches the same one."""


class SimulatedTracking(TrackerConfig):
    """The section that opens it."""

    name: Literal["simulated"]

    def open_tracker(self, state: Path | None, variables: Mapping[str, str]) -> "SimulatedTracker":
        """Return a tracker of the store of this folder, as a process of its own."""
        store, simulation = _STORES.setdefault(str(state), (Store(), Simulation(0)))
        return SimulatedTracker(store, Process(simulation, "suite"))


class SimulatedTracker(Tracker):
    """Runs without records: what the registry's rules need of a tracker."""

    def __init__(self, store: Store, process: Process) -> None:
        self._store, self._registry = store, SimulatedRegistry(store, process)

    @property
    def registry(self) -> Registry:
        """The registry."""
        return self._registry

    def ensure_run(
        self, stage_key: str, stage: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> str:
        """Return the key as the run's id."""
        return stage_key

    def log_model(self, run_id: str, bundle_folder: Path) -> str:
        """Store the files of a bundle under its digest."""
        files = dict(read_files(bundle_folder))
        model_id = parse_bundle(files).digest
        self._store.files[model_id] = files
        return model_id
