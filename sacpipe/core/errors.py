"""The tree of errors that an operator can meet.

    SacpipeError                      exit code 2, retryable = False
    ├─ ConfigError                    params.yaml or a command-line argument is wrong
    │  └─ UnknownTaskError            no such task; carries the nearest names
    ├─ ContractError                  a task suite or a learner broke its contract
    ├─ StorageError                   a file is missing, malformed, or cannot be written
    ├─ BusyError                      another process has locked this folder
    │  └─ ReleaseBusyError            exit code 1: another release command is in progress
    ├─ PoolError
    │  ├─ PoolFormatError             unknown version or schema
    │  └─ PoolCorruptError            bytes differ from the manifest
    ├─ CheckpointError                incomplete, of another run, or of a newer version
    ├─ DivergenceError                non-finite loss or parameter; training stops here
    ├─ ExportError
    │  └─ ParityError                 torch and ONNX differ by more than the tolerance
    ├─ BundleError                    missing, changed, or of a newer version; carries the broken rule
    │  └─ GateError                   a robot's load gate refuses a bundle
    ├─ ObservationError               wrong shape or not finite
    ├─ KernelError                    compiler or instruction set missing, or the cache of kernels refused
    ├─ RendererError                  no off-screen renderer works on this machine
    ├─ SimulatorError                 exit code 3: a task raised an error, or returned a wrong value, in a run
    ├─ MemberError                    exit code 3: an algorithm, engine or sampler raised an error in a run
    ├─ StageError                     exit code of the stage (1 or 2), else 3; carries its output
    ├─ ReleaseError                   exit code 1: history, alias or another promoter forbids it
    ├─ InterruptedRunError            exit code 3: Ctrl-C or SIGTERM; finished work is kept
    └─ StoreError                     exit code 3: MLflow, DVC or Prefect failed
       └─ StoreUnavailableError       retryable = True: the store does not answer

A mistake in code raises ValueError or TypeError instead. A refused release is not an error: the
release gate returns a Verdict. A message has four parts: what was expected, what was found, where, and
what to do.
"""

from collections.abc import Sequence
from typing import Literal

from sacpipe.core.logging import escape_unprintable

BundleRule = Literal[
    "files",
    "links",
    "size",
    "signature",
    "manifest",
    "digest",
    "contract",
    "graph",
    "terms",
    "tensors",
    "golden",
    "runtime",
    "timing",
    "process",
    "store",
]
"""Rules that a bundle can break, in the order in which a robot's load gate checks them; docs/bundle.md
defines each. The last two are checked outside the load gate, by a server that follows a registry alias."""


class SacpipeError(Exception):
    """Base class of all errors of sacpipe."""

    exit_code: int = 2
    """Exit code of a command that ends with this error."""
    retryable: bool = False
    """Whether the same call may succeed later."""


class ConfigError(SacpipeError):
    """A value in params.yaml or on the command line is wrong."""


class UnknownTaskError(ConfigError):
    """No task suite has this task."""

    def __init__(self, task: str, nearest: Sequence[str], *, may_be_own: bool = False) -> None:
        offer = f" Did you mean {', '.join(nearest)}?" if nearest else ""
        own = " A task of your own has the name `gymnasium/MODULE:ID`." if may_be_own else ""
        super().__init__(f"task '{task}' is not known.{offer} `sacpipe tasks` lists every task.{own}")
        self.nearest = tuple(nearest)


class ContractError(SacpipeError):
    """A task suite or a learner broke its contract."""


class StorageError(SacpipeError):
    """A file could not be written."""


class BusyError(SacpipeError):
    """Another process has locked this folder."""


class ReleaseBusyError(BusyError):
    """Another release command is in progress in this folder: the champion may be another one after it."""

    exit_code = 1


class PoolError(SacpipeError):
    """A replay pool cannot be used."""


class PoolFormatError(PoolError):
    """A replay pool has a version or a schema this program does not read."""


class PoolCorruptError(PoolError):
    """The bytes of a replay pool differ from its manifest."""


class CheckpointError(SacpipeError):
    """A checkpoint is incomplete, of another run, or of a newer version."""


class DivergenceError(SacpipeError):
    """A loss, a parameter or an observation is not finite."""

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row
        """Row of the batch that caused it, or None if no single row did."""


class ExportError(SacpipeError):
    """A policy cannot be exported."""


class ParityError(ExportError):
    """The exported policy differs from the trained one by more than the tolerance."""


class BundleError(SacpipeError):
    """A bundle is missing, changed, or of a newer version."""

    def __init__(self, message: str, rule: BundleRule | None = None) -> None:
        super().__init__(escape_unprintable(message))  # it shows texts of a foreign bundle
        self.rule = rule
        """The rule that the bundle broke, or None if no rule is known."""


class GateError(BundleError):
    """A robot's load gate refuses a bundle."""

    def __init__(self, fault: str, rule: BundleRule) -> None:
        super().__init__(f"refused by the rule '{rule}': {fault}", rule)


class ObservationError(SacpipeError):
    """An observation has the wrong shape or is not finite."""


class KernelError(SacpipeError):
    """The compiled kernels cannot be built or loaded on this machine."""


class RendererError(SacpipeError):
    """No off-screen renderer works on this machine."""


class SimulatorError(SacpipeError):
    """A task raised an error, or returned a value that its specification excludes, after it was made."""

    exit_code = 3

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class MemberError(SacpipeError):
    """An algorithm, an engine or a sampler raised an error in a run."""

    exit_code = 3


class StageError(SacpipeError):
    """A DVC stage failed; it has the stage's exit code."""

    def __init__(self, message: str, *, exit_code: int = 3, retryable: bool = False) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.retryable = retryable


class ReleaseError(SacpipeError):
    """A release command may not act: damage, a fork, drift, a barred bundle, or another promoter."""

    exit_code = 1


class InterruptedRunError(SacpipeError):
    """Ctrl-C or SIGTERM stopped the run; everything finished so far is kept."""

    exit_code = 3


class StoreError(SacpipeError):
    """MLflow, DVC or Prefect failed."""

    exit_code = 3

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code
        """Short name of the cause, such as an HTTP status; equal causes have equal codes."""


MISSING_FILES = "missing"
"""Code of a StoreError of a registry that lacks files of a version, which can be written again."""


class StoreUnavailableError(StoreError):
    """A store does not answer; a later try may succeed."""

    retryable = True
