"""The update composed of kernels against the update by autograd, from one state and with one noise."""

import numpy as np
import pytest
from learning import SPEC, furthest, make_batch, make_learner
from test_torch_engine import ASYMMETRIC, VARIANTS, mlp

from sacpipe.algorithms.sac_native import NativeSAC


def given_noise(reference, native, size):
    """Let a learner by autograd use the noise of the last update by kernels."""
    held = len(native.noise) // 2
    noise = np.stack([native.noise[held : held + size], native.noise[:size]])
    reference.draw_noise = lambda _size: noise


@pytest.mark.parametrize("changes", [*VARIANTS, mlp(300, 40), {"spec": ASYMMETRIC, **mlp(33, 65, 17)}])
@pytest.mark.parametrize(("updates_before", "size"), [(0, 16), (1000, 16), (3, 13)])
def test_the_update_by_kernels_is_the_update_by_autograd(changes, updates_before, size):
    spec = changes.get("spec", SPEC)
    native, reference = NativeSAC(make_learner(seed=6, **changes)), make_learner(seed=5, **changes)
    for step in range(updates_before):
        native.observe(make_batch(step % 7, spec=spec).observations.rows(step % 16))
        native.update(make_batch(step % 7, spec=spec, size=size))
    reference.load_state(native.state())
    for step in range(3):
        native.update(make_batch(step + 20, spec=spec, size=size))
        given_noise(reference, native, size)
        reference.update(make_batch(step + 20, spec=spec, size=size))
    assert furthest(without_noise(native), without_noise(reference)) < 2e-5
    assert native.gradient_steps == reference.gradient_steps == updates_before + 3
    assert native.diagnostics() == pytest.approx(reference.diagnostics(), rel=1e-4, abs=1e-5)


def without_noise(learner):
    return {name: value for name, value in learner.state().items() if name != "noise"}
