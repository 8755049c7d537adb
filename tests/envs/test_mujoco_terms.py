"""The names of a MuJoCo model's actions."""

import mujoco
import numpy as np

from sacpipe.envs.mujoco_terms import action_terms

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
