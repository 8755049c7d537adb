"""Which outputs another kind of processor may change: those that onnxruntime has a part in, if the training is exact."""

from typing import ClassVar

import pytest
from repository import ROOT
from ruamel.yaml import YAML

from sacpipe.core.config import Config
from sacpipe.engines import ENGINES, tier_of
from sacpipe.project import moving_outputs as module
from sacpipe.project.moving_outputs import BUNDLE, MOVING, moving_outputs
from sacpipe.project.processor_kind import ProcessorKind
from sacpipe.project.workspace import STAGES

ZEN = ProcessorKind(
    family="AuthenticAMD 25",
    model="17",
    name="Zen 4",
    instructions="avx avx2 avx512f f16c fma",
    libm="glibc 2.36",
)
HASWELL = ZEN.replace(family="GenuineIntel 6", model="60", name="Haswell", instructions="avx avx2 f16c fma")
GRAPH = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


class Exact(Config):
    """Stands for an engine with the same bytes on every x86-64-v3 processor."""

    tier: ClassVar[str] = "exact"
    name: str

    def compute_outputs(self, policy):
        """Stands for the computation of golden actions."""


class Older(Config):
    """Stands for an engine that was written before there were tiers."""

    name: str


TORCH = {"name": "torch", "num_threads": 1, "matmul_precision": "float32"}
EXACT = {"name": f"{__name__}:Exact"}


def outs(stage):
    items = [item for kind in ("outs", "metrics", "plots") for item in GRAPH[stage].get(kind, [])]
    return [item if isinstance(item, str) else next(iter(item)) for item in items]


def lock(engine):
    """Return the entries that dvc.lock has for the graph, with an engine; the digests do not matter."""
    return {
        stage: {
            "cmd": "",
            "deps": [{"path": path, "md5": "0"} for path in GRAPH[stage]["deps"]],
            "params": {"params.yaml": {"engine": engine} if stage == "train" else {}},
            "outs": [{"path": path, "md5": "0"} for path in outs(stage)],
        }
        for stage in STAGES
    }


@pytest.fixture(autouse=True)
def on_haswell(monkeypatch):
    monkeypatch.setattr(module, "this_processor", lambda: HASWELL)


def test_only_what_onnxruntime_or_the_renderer_computes_may_change_after_an_exact_training():
    found = moving_outputs(lock(EXACT), dict.fromkeys(STAGES, ZEN))
    assert {stage: set(paths) for stage, paths in found.items()} == {
        stage: set(paths) for stage, paths in MOVING.items()
    }


@pytest.mark.parametrize(
    ("engine", "change"),
    [
        (TORCH, {}),
        ({"name": f"{__name__}:Older"}, {}),
        ({"name": "no such engine"}, {}),
        (None, {}),
        (EXACT, {"libm": "glibc 2.31"}),
        (EXACT, {"instructions": "avx"}),
        (EXACT, {"family": "0x41 8", "instructions": "asimd sve"}),
    ],
)
def test_everything_may_change_where_the_training_may(engine, change):
    found = moving_outputs(lock(engine), {"train": ZEN.replace(**change)})
    assert found == {stage: outs(stage) for stage in STAGES}


def test_a_stage_of_this_kind_changes_only_by_what_it_reads():
    assert moving_outputs(lock(EXACT), {}) == {}
    assert moving_outputs(lock(EXACT), {"train": ZEN}) == {}
    found = moving_outputs(lock(TORCH), {"evaluate": ZEN})
    assert {stage: set(paths) for stage, paths in found.items()} == {"evaluate": set(MOVING["evaluate"])}
    assert moving_outputs(lock(TORCH), {"evaluate": ZEN.replace(libm="musl")}) == {
        "evaluate": outs("evaluate")
    }
    found = moving_outputs(lock(EXACT), {"export": ZEN})
    assert {stage: set(paths) for stage, paths in found.items()} == {"export": set(MOVING["export"])}


def test_a_bundle_with_golden_actions_of_onnxruntime_changes_and_so_does_what_reads_it():
    found = moving_outputs(lock(TORCH), {"export": ZEN})
    assert set(found["export"]) == MOVING["export"] | {BUNDLE}
    assert found["evaluate"] == outs("evaluate")


def test_every_output_that_may_change_is_one_of_the_graph():
    assert all(paths <= {*outs(stage)} for stage, paths in MOVING.items())


def test_an_engine_says_its_tier():
    assert {name: ENGINES.find(name).tier for name in ("autograd", "torch")} == {
        "autograd": "same-device",
        "torch": "same-device",
    }
    native = ENGINES.find("native")
    assert native(name="native", precision="float32").tier == "exact"
    assert native(name="native", precision="bfloat16").tier == "same-device"
    assert (tier_of(Exact(name="x")), tier_of(Older(name="x"))) == ("exact", "same-device")
