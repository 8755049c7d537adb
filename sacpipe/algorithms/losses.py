"""The losses of Soft Actor-Critic as pure functions, by the equations of arXiv:1812.05905.

The engine `torch` computes the same equations with gradients written by hand (sacpipe/engines/torch_sac.py):
a change here needs one there. Tests compare both, to rounding.
"""

from collections.abc import Callable, Sequence

import torch

from sacpipe.specs.records import Batch


def soft_td_target(
    rewards: torch.Tensor,
    discounts: torch.Tensor,
    next_q_values: torch.Tensor,
    next_log_probs: torch.Tensor,
    *,
    temperature: torch.Tensor | float,
) -> torch.Tensor:
    """Return the entropy-regularised target of every transition.

    A time limit is not a termination: a truncated transition keeps its bootstrap.

    Args:
        rewards: In task units. Shape (B,).
        discounts: Factor of the next value, 0 where the task itself ended. Shape (B,).
        next_q_values: Target critics at the next observation and action. Shape (num_critics, B).
        next_log_probs: Log-density of the next action, in nats. Shape (B,).
        temperature: Weight of the entropy term, > 0.

    Returns:
        What the critics regress to, without gradient. Shape (B,).

    References:
        Eq. 3 and 5, with the minimum over critics of section 5.
    """
    next_values = next_q_values.amin(dim=0) - temperature * next_log_probs
    return (rewards + discounts * next_values).detach()


def critic_loss(
    q_values: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the sum over critics of half the mean squared error.

    Args:
        q_values: Shape (num_critics, B).
        targets: Shape (B,).
        weights: Factors of the rows' squared errors; None for 1 each. Shape (B,).

    References:
        Eq. 5; the weights are those of Schaul et al. 2016, arXiv:1511.05952, section 3.4.
    """
    squares = weighted(q_values - targets, weights)
    return 0.5 * squares.mean(dim=1).sum()


def weighted(errors: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Return squared errors, shape (num_critics, B), times the weights of the rows, where there are some."""
    squares = errors.square()
    return squares if weights is None else squares * weights


def weights_of(batch: Batch) -> torch.Tensor | None:
    """Return the weights of a batch's rows, or None."""
    return None if batch.weights is None else torch.from_numpy(batch.weights)


def actor_loss(
    log_probs: torch.Tensor, q_values: torch.Tensor, *, temperature: torch.Tensor | float, actor_q: str
) -> torch.Tensor:
    """Return the mean of temperature * log pi - Q.

    Args:
        log_probs: Of reparameterised actions, in nats. Shape (B,).
        q_values: Critics at those actions. Shape (num_critics, B).
        temperature: Before this update's own temperature step.
        actor_q: `min` over critics (the paper), or their `mean` (Softlearning since February 2021).

    References:
        Eq. 7 and 9.
    """
    values = q_values.amin(dim=0) if actor_q == "min" else q_values.mean(dim=0)
    return (temperature * log_probs - values).mean()


def temperature_loss(
    log_temperature: torch.Tensor, log_probs: torch.Tensor, *, target_entropy: float, objective: str
) -> torch.Tensor:
    """Return the loss whose descent keeps the policy's entropy at the target.

    Args:
        log_temperature: The learned scalar.
        log_probs: In nats, used without gradient. Shape (B,).
        target_entropy: In nats.
        objective: `log_temperature` multiplies the gap by log alpha, so the gradient does not
            shrink with alpha (the authors' code before 2020, and most of today's);
            `temperature` multiplies it by alpha, as eq. 18 is printed and Softlearning's last version does.

    References:
        Eq. 18; rail-berkeley/softlearning#149.
    """
    gap = (log_probs.detach() + target_entropy).mean()
    factor = log_temperature if objective == "log_temperature" else log_temperature.exp()
    return -factor * gap


def norm_of(gradients: Sequence[torch.Tensor]) -> Callable[[], float]:
    """Return the function that computes the Euclidean norm of some gradients, once it is asked for."""
    return lambda: float(torch.nn.utils.get_total_norm(gradients))
