"""The files that MuJoCo opens are found in its XML, in every place where it looks."""

import os
import struct
import zlib

import numpy as np
import pytest
from forked import run_forked

from sacpipe.project.identity.mujoco_models import model_files

CUBE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 3 4\nf 1 4 2\nf 2 4 3\n"
HAND = '<mujoco><worldbody><body name="hand"><geom size=".1" mass="1"/></body></worldbody></mujoco>'
ARM = """
<mujoco>
  <compiler meshdir="meshes" texturedir="pictures"/>
  <include file="parts/joints.xml"/>
  <asset>
    <mesh name="link" file="link.obj"/>
    <texture name="floor" type="2d" file="floor.png"/>
    <hfield name="hills" file="hills.bin" size="1 1 1 1"/>
    <model name="hand" file="hand.xml"/>
  </asset>
  <worldbody><geom type="mesh" mesh="link"/><geom type="hfield" hfield="hills"/><attach model="hand" body="hand" prefix="h"/></worldbody>
</mujoco>
"""
JOINTS = '<mujoco><worldbody><body><joint name="j"/><geom size=".1"/></body></worldbody></mujoco>'


def png(width, height):
    """A black picture."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(3 * width)) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture
def model(tmp_path):
    for name in ("meshes", "pictures", "parts"):
        (tmp_path / name).mkdir()
    (tmp_path / "arm.xml").write_text(ARM)
    (tmp_path / "parts/joints.xml").write_text(JOINTS)
    (tmp_path / "hand.xml").write_text(HAND)
    (tmp_path / "unused.xml").write_text(HAND)
    (tmp_path / "meshes/link.obj").write_text(CUBE)
    (tmp_path / "pictures/floor.png").write_bytes(png(4, 4))
    hills = np.array([2, 2], np.int32).tobytes() + np.ones(4, np.float32).tobytes()
    (tmp_path / "hills.bin").write_bytes(hills)
    (tmp_path / "meshes/hills.bin").write_bytes(hills)
    return tmp_path / "arm.xml"


def test_includes_models_meshes_textures_and_height_fields_are_found(model):
    names = {path.relative_to(model.parent).as_posix() for path in model_files(model)}
    assert names == {
        "arm.xml", "parts/joints.xml", "hand.xml", "meshes/link.obj", "pictures/floor.png",
        "hills.bin", "meshes/hills.bin",
    }  # fmt: skip


def run_code(code, model, argument=None):
    """Run code in a process of its own that has imported MuJoCo: recording wraps its functions."""
    script = model.with_name("script.py")
    script.write_text(code)
    modules = ("mujoco", "sacpipe.project.identity.mujoco_models")
    done = run_forked([script.name, argument or str(model)], model.parent, dict(os.environ), modules)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
@pytest.mark.parametrize("call", [
    "mujoco.MjModel.from_xml_path(path)",
    "MjModel.from_xml_path(filename=path)",
    "mujoco.MjSpec.from_file(path).compile()",
    "mujoco.MjModel.from_xml_string(open(path).read())",
    "mujoco.MjModel.from_xml_path(path.replace('arm.xml', 'parts/../arm.xml'))",
    "mujoco.MjModel.from_xml_path(assets={}, filename=path)",
])  # fmt: skip
def test_every_way_to_compile_a_model_is_recorded(model, call):
    code = (
        "import sys, mujoco; from mujoco import MjModel\n"
        "from sacpipe.project.identity.mujoco_models import all_model_files, record_models\nRECORD = {}\n"
        "assert record_models(lambda: RECORD) and not record_models(lambda: RECORD)\n"
        f"path = sys.argv[1]; {call}\n"
        "print(*all_model_files(RECORD), sep='\\n')"
    )
    done = run_code(code, model)
    found = {line.removeprefix(f"{model.parent}/") for line in done.stdout.splitlines()}
    assert {"parts/joints.xml", "hand.xml", "meshes/link.obj", "hills.bin"} <= found


def test_text_that_is_no_xml_has_no_parts(tmp_path):
    path = tmp_path / "model.mjb"
    path.write_bytes(b"\x00\x01")
    assert model_files(path) == [path]
    assert model_files(tmp_path / "missing.xml") == []


def test_mesh_that_the_task_adds_to_a_specification_is_recorded(model):
    code = (
        "import sys, mujoco\n"
        "from sacpipe.project.identity.mujoco_models import all_model_files, record_models\n"
        "record = {}; record_models(lambda: record); spec = mujoco.MjSpec()\n"
        "spec.modelfiledir = sys.argv[1]; spec.meshdir = 'meshes'\n"
        "spec.add_mesh(name='link', file='link.obj')\n"
        "spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname='link')\n"
        "spec.compile(); print(*all_model_files(record))"
    )
    done = run_code(code, model, str(model.parent))
    assert done.stdout.split() == [str(model.parent / "meshes/link.obj")]
