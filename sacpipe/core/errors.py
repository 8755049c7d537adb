"""Every condition an operator can meet, in one tree.

    SacpipeError                      exit code 2, retryable = False
    ├─ ConfigError                    params.yaml or a command-line argument is wrong
    │  └─ UnknownTaskError            no such task; carries the nearest names
    ├─ ContractError                  a universe or a learner broke its promise
    ├─ StorageError                   a file could not be written: full disk, missing permission
    ├─ BusyError                      another run holds this folder
    ├─ PoolError
    │  ├─ PoolFormatError             unknown version or schema
    │  └─ PoolCorruptError            bytes differ from the manifest
    ├─ CheckpointError                torn, foreign or too new
    ├─ DivergenceError                non-finite loss or parameter; training stops here
    ├─ ExportError
    │  └─ ParityError                 torch and ONNX disagree beyond the bound
    ├─ BundleError                    missing, tampered or too new; carries the rule it broke
    │  └─ GateError                   a robot's load gate refuses a bundle
    ├─ ObservationError               wrong shape or not finite
    ├─ RendererError                  no off-screen renderer works here
    ├─ StageError                     exit code 3: a DVC stage failed; carries what it said
    ├─ InterruptedRunError            exit code 3: Ctrl-C or SIGTERM; what was done is kept
    └─ StoreError                     exit code 3: MLflow, DVC or Prefect failed
       └─ StoreUnavailableError       retryable = True: it does not answer

A mistake in code raises ValueError or TypeError instead. A refused release is no error: the gate
returns a Verdict. A message says four things: what was expected, what was found, where, what to do.
"""

from collections.abc import Sequence
from typing import Literal

BundleRule = Literal[
    "files",
    "links",
    "size",
    "signature",
    "manifest",
    "digest",
    "contract",
    "graph",
    "tensors",
    "golden",
    "timing",
    "process",
    "store",
]
"""What a bundle can break, in the order in which a robot's gate asks; docs/bundle.md says what each means.
The last two are asked by a server that follows, around the gate."""


class SacpipeError(Exception):
    """Root of the tree."""

    exit_code: int = 2
    retryable: bool = False


class ConfigError(SacpipeError):
    """A value in params.yaml or on the command line is wrong."""


class UnknownTaskError(ConfigError):
    """No universe knows this task."""

    def __init__(self, task: str, nearest: Sequence[str]) -> None:
        offer = f" Did you mean {', '.join(nearest)}?" if nearest else ""
        super().__init__(f"task '{task}' is not known.{offer} `sacpipe tasks` lists every task.")
        self.nearest = tuple(nearest)


class ContractError(SacpipeError):
    """A universe or a learner did not keep its promise."""


class StorageError(SacpipeError):
    """A file could not be written."""


class BusyError(SacpipeError):
    """Another run holds this folder."""


class PoolError(SacpipeError):
    """A replay pool cannot be used."""


class PoolFormatError(PoolError):
    """A replay pool has a version or a schema this program does not read."""


class PoolCorruptError(PoolError):
    """The bytes of a replay pool differ from what its manifest says."""


class CheckpointError(SacpipeError):
    """A checkpoint is torn, of another run, or too new."""


class DivergenceError(SacpipeError):
    """A loss, a parameter or an observation is not finite."""

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row
        """Row of the batch that brought it, where one did."""


class ExportError(SacpipeError):
    """A policy cannot be exported."""


class ParityError(ExportError):
    """The exported policy differs from the trained one by more than the bound."""


class BundleError(SacpipeError):
    """A bundle is missing, tampered with, or too new."""

    def __init__(self, message: str, rule: BundleRule | None = None) -> None:
        super().__init__(message)
        self.rule = rule
        """The rule it broke, where one is known."""


class GateError(BundleError):
    """A robot's load gate refuses a bundle."""

    def __init__(self, fault: str, rule: BundleRule) -> None:
        super().__init__(f"refused by the rule '{rule}': {fault}", rule)


class ObservationError(SacpipeError):
    """An observation has the wrong shape or is not finite."""


class RendererError(SacpipeError):
    """No off-screen renderer works on this machine."""


class StageError(SacpipeError):
    """A DVC stage failed."""

    exit_code = 3


class InterruptedRunError(SacpipeError):
    """The run was asked to stop; everything finished so far is kept."""

    exit_code = 3


class StoreError(SacpipeError):
    """MLflow, DVC or Prefect failed."""

    exit_code = 3


class StoreUnavailableError(StoreError):
    """A store does not answer; trying again may help."""

    retryable = True
