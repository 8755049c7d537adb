"""MuJoCo's functions that read models, which sacpipe/project/identity/mujoco_models.py replaces to see the files."""

import mujoco
import pytest
from canary import canary

from sacpipe.project.identity import mujoco_models

MODEL = "<mujoco><worldbody/></mujoco>"
ADVICE = "sacpipe/project/identity/mujoco_models.py: see the files of a model by another way"


@pytest.mark.parametrize(("kind", "name"), [*mujoco_models._LOADERS, *mujoco_models._STRING_LOADERS])
def test_a_loader_can_be_replaced(monkeypatch, kind, name):
    with canary(f"mujoco.{kind}.{name}", ADVICE):
        monkeypatch.setattr(getattr(mujoco, kind), name, staticmethod(lambda *_: "replaced"))
        assert getattr(getattr(mujoco, kind), name)(MODEL) == "replaced"


def test_compile_can_be_replaced(monkeypatch):
    with canary("mujoco.MjSpec.compile", ADVICE):
        spec = mujoco.MjSpec.from_string(MODEL)
        monkeypatch.setattr(mujoco.MjSpec, "compile", lambda _: "replaced")
        assert spec.compile() == "replaced"
