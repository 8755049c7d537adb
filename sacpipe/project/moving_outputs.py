"""Which outputs may have other bytes because another kind of processor computed them.

A training of the tier `exact` has the same bytes on every x86-64-v3 processor. What onnxruntime computes has
not: it chooses its kernels by the processor, as it does on a robot.
"""

from collections.abc import Mapping

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.engines import EngineConfig, EngineSection, tier_of
from sacpipe.project.dvc.lock_file import LockEntries
from sacpipe.project.processor_kind import ProcessorKind, this_processor
from sacpipe.project.stage_key import locked_inputs, locked_outs
from sacpipe.project.workspace import STAGES

MOVING = {
    "export": frozenset(
        {
            "out/export/metrics.json",  # the largest difference from the trained network
            "results/export.json",
        }
    ),
    "evaluate": frozenset(
        {
            "out/evaluate/metrics.json",  # returns of the bundle
            "out/evaluate/video",  # the renderer compiles for the processor
            "results/episodes.csv",
            "results/evaluate.json",
        }
    ),
}
"""Outputs that onnxruntime or the renderer has a part in, by stage; if the training is the same on every
x86-64-v3 processor, all others are."""
BUNDLE = "out/export/bundle"
"""Moves too where onnxruntime computes the actions of its golden sequence, because the engine does not."""


class _EngineParams(Config):
    engine: EngineConfig


def moving_outputs(entries: LockEntries, other: Mapping[str, ProcessorKind]) -> dict[str, list[str]]:
    """Return, by stage, the outputs that may have other bytes here, in the order of dvc.lock.

    Args:
        entries: Of a dvc.lock.
        other: The kinds of processors that are not this one, by stage.
    """
    moving: dict[str, list[str]] = {}
    for stage in STAGES:
        entry = entries.get(stage) or {}
        read = {*locked_inputs(entry).deps} if entry else set()
        if read & {path for paths in moving.values() for path in paths}:
            moving[stage] = [*locked_outs(entry)]
        elif stage in other:
            engine = _engine(entries)
            is_exact = engine is not None and tier_of(engine) == "exact"
            is_limited = is_exact if stage == "train" else stage in MOVING
            alike = is_limited and other[stage].rounds_like(this_processor())
            own = {BUNDLE} if stage == "export" and not hasattr(engine, "compute_outputs") else set()
            limited = MOVING.get(stage, frozenset()) | own
            moving[stage] = [path for path in locked_outs(entry) if not alike or path in limited]
    return {stage: paths for stage, paths in moving.items() if paths}


def _engine(entries: LockEntries) -> EngineSection | None:
    """Return the training's engine; None where the entry has none that is known here."""
    section = locked_inputs(entries["train"]).params.get("params.yaml", {}).get("engine")
    try:
        return _EngineParams.parse({"engine": section}).engine
    except ConfigError:
        return None
