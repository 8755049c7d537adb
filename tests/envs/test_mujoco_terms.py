"""The names of a MuJoCo model's actions."""

import mujoco
import numpy as np

from sacpipe.envs.mujoco_terms import action_terms, observation_terms

MODEL = """
<mujoco>
  <worldbody>
    <body>
      <joint name="slider" type="slide"/>
      <geom size="0.1"/>
    </body>
  </worldbody>
  <actuator>
    <motor joint="slider"/>
    <position joint="slider"/>
    <motor name="push" joint="slider"/>
  </actuator>
</mujoco>
"""


def test_two_actuators_of_one_joint_have_names_of_their_own():
    model = mujoco.MjModel.from_xml_string(MODEL)
    terms = action_terms(model, -np.ones(3, np.float32), np.ones(3, np.float32))
    assert [(term.name, term.unit) for term in terms] == [
        ("slider", "N"),
        ("slider_1", "unknown"),
        ("push", "N"),
    ]


def test_actuators_whose_names_look_like_numbered_ones_stay_apart():
    text = MODEL.replace('<motor name="push"', '<motor name="slider_1"')
    model = mujoco.MjModel.from_xml_string(text)
    names = [term.name for term in action_terms(model, -np.ones(3, np.float32), np.ones(3, np.float32))]
    assert names[:2] == ["slider", "slider_1"]
    assert len(set(names)) == 3


def test_joints_whose_terms_would_share_a_name_stay_apart():
    joints = '<joint name="joint_1" type="slide"/><joint type="slide" axis="1 0 0"/>'
    model = mujoco.MjModel.from_xml_string(
        MODEL.replace('<joint name="slider" type="slide"/>', joints).replace(
            MODEL[MODEL.index("<actuator>") : MODEL.index("</mujoco>")], ""
        )
    )
    terms = observation_terms(model, {"qpos": 2, "qvel": 2}, "")
    assert [term.name for term in terms][::2] == ["joint_1_position", "joint_1_velocity"]
    assert len({term.name for term in terms}) == 4
