"""torch's private functions, all of which sacpipe/algorithms/adam.py uses."""

import pytest
import torch
from canary import canary


def test_foreach_lerp():
    sources = [torch.linspace(-1.0, 1.0, 7), torch.ones(2, 3)]
    expected = [torch.zeros_like(source).lerp_(source, 0.3) for source in sources]
    with canary(
        "torch._foreach_lerp_", "sacpipe/algorithms/adam.py: move_targets can call Tensor.lerp_ in a loop"
    ):
        targets = [torch.zeros_like(source) for source in sources]
        torch._foreach_lerp_(targets, sources, 0.3)
        assert all(map(torch.equal, targets, expected)), "other numbers than those of Tensor.lerp_"


@pytest.mark.parametrize(
    ("name", "optimiser", "decay"),
    [("_fused_adam_", torch.optim.Adam, 0.0), ("_fused_adamw_", torch.optim.AdamW, 0.1)],
)
def test_fused_adam(name, optimiser, decay):
    first, gradient = torch.linspace(-1.0, 1.0, 9), torch.linspace(0.5, -2.0, 9)
    theirs = torch.nn.Parameter(first.clone())
    theirs.grad = gradient.clone()
    optimiser([theirs], lr=0.01, weight_decay=decay, fused=True).step()
    with canary(
        f"torch.{name}", "sacpipe/algorithms/adam.py: Adam.step can call torch.optim's Adam and AdamW"
    ):
        ours, moments = first.clone(), [torch.zeros(9), torch.zeros(9)]
        getattr(torch, name)(
            [ours],
            [gradient],
            moments[:1],
            moments[1:],
            [],
            [torch.ones(())],
            lr=0.01,
            beta1=0.9,
            beta2=0.999,
            weight_decay=decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
            grad_scale=None,
            found_inf=None,
        )
        assert torch.equal(ours, theirs.detach()), f"other numbers than those of {optimiser.__name__}"
