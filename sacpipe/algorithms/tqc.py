"""Truncated Quantile Critics (Kuznetsov et al. 2020, arXiv:2005.04269), by autograd.

Soft Actor-Critic whose critics learn the distribution of the return as quantiles. The target leaves out the
highest of the pooled quantiles of all critics: that, instead of a minimum, bounds overestimation. The policy
ascends the mean of all quantiles.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch.nn import functional

from sacpipe.algorithms.losses import weights_of
from sacpipe.algorithms.sac_metrics import METRICS as SAC_METRICS
from sacpipe.algorithms.soft_actor_critic import GaussianActorCriticConfig, Regression, SoftActorCritic
from sacpipe.networks.critic import QuantileCritic
from sacpipe.networks.policies.reparameterised import Draw
from sacpipe.networks.trunks import TrunkSection
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.metric import Metric
from sacpipe.specs.records import Batch, FloatArray

METRICS = SAC_METRICS | {
    name: SAC_METRICS[name]._replace(meaning=meaning)
    for name, meaning in (
        ("critic/loss", "Sum over critics of the mean quantile Huber loss."),
        ("critic/q_mean", "Mean of all quantiles of the batch."),
        ("critic/target_mean", "Mean of the truncated target, over the batch too."),
        ("critic/td_error_std", "Standard deviation of value minus mean target over the batch."),
        ("actor/loss", "Mean of temperature x log-density minus the mean of all quantiles."),
    )
}


class TQCConfig(GaussianActorCriticConfig):
    """Truncated Quantile Critics, arXiv:2005.04269."""

    has_native_update: ClassVar[bool] = True
    metrics: ClassVar[Mapping[str, Metric]] = METRICS

    name: Literal["tqc"]
    num_critics: int = Field(ge=1)
    """Critics in the ensemble; the target pools their quantiles."""
    actor_q: Literal["min", "mean"]
    """Value in the actor's loss: `mean` of the critics' values (the paper) or their `min`. A critic's value
    is the mean of its quantiles."""
    num_quantiles: int = Field(ge=1)
    """Quantiles of each critic."""
    dropped_quantiles: int = Field(ge=0)
    """Highest quantiles that the target leaves out, for each critic; more make it lower. The paper has 0 for
    HalfCheetah, 5 for Hopper and 2 for others."""

    @model_validator(mode="after")
    def _some_are_left(self) -> Self:
        if self.dropped_quantiles >= self.num_quantiles:
            raise ValueError(
                f"dropped_quantiles must be below num_quantiles, found {self.dropped_quantiles} and "
                f"{self.num_quantiles}"
            )
        return self

    @classmethod
    def preset(cls, spec: EnvSpec | None, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml: the paper's, with the budget's network."""
        own = {"num_critics": 5, "actor_q": "mean", "num_quantiles": 25, "dropped_quantiles": 2}
        return super().preset(spec, budget) | {"name": "tqc"} | own

    def build(self, spec: EnvSpec, seed: int) -> "TQC":
        """Return a fresh learner for a task; a trunk that cannot take its observations is a ConfigError."""
        return TQC(self, spec, seed)


class TQC(SoftActorCritic):
    """The learner: a squashed Gaussian policy, stacked quantile critics, their slow copies, a temperature."""

    config: TQCConfig
    critic: QuantileCritic
    target_critic: QuantileCritic
    native: ClassVar[str] = "sacpipe.algorithms.tqc_native:NativeTQC"
    """Update composed of kernels, for the engine `native`."""
    row_losses: FloatArray
    """Of every critic and row in the last update, shape (num_critics, B); set beside `last`."""

    def _make_critic(self, trunk: TrunkSection, num_critics: int) -> QuantileCritic:
        return QuantileCritic(
            trunk,
            self.critic_inputs.group,
            self.spec.action_dim,
            num_critics,
            num_quantiles=self.config.num_quantiles,
        )

    def _regress(self, batch: Batch, following: Draw, temperature: torch.Tensor) -> Regression:
        """Fit all quantiles to y_i = r + discount (z_i - temperature log pi), section 3."""
        with torch.no_grad():
            following_quantiles = self.target_critic.quantiles(
                self.critic_inputs.of(batch.next_observations), following.actions
            )
            kept = truncated_mixture(following_quantiles, self.config.dropped_quantiles)
            rewards, discounts = torch.from_numpy(batch.rewards), torch.from_numpy(batch.discounts)
            soft = kept - (temperature * following.log_probs).unsqueeze(1)
            targets = rewards.unsqueeze(1) + discounts.unsqueeze(1) * soft
        quantiles = self.critic.quantiles(
            self.critic_inputs.of(batch.observations), torch.from_numpy(batch.actions)
        )
        losses = quantile_huber_losses(quantiles, targets, weights_of(batch))
        self.row_losses = losses.detach().numpy()
        return Regression(losses.mean(dim=1).sum(), quantiles.detach().mean(dim=-1), targets.mean(dim=1))

    def diagnostics(self) -> dict[str, float]:
        """Describe the last update; see `Learner.diagnostics`."""
        described = super().diagnostics()
        losses = self.row_losses.mean(axis=1)
        described |= {f"critic/{index}/loss": float(loss) for index, loss in enumerate(losses)}
        return described | {"critic/loss": float(losses.sum())}


def truncated_mixture(quantiles: torch.Tensor, dropped: int) -> torch.Tensor:
    """Pool the quantiles of all critics and leave out the highest.

    Args:
        quantiles: Shape (num_critics, B, num_quantiles).
        dropped: Quantiles left out for each critic; of the pool, the highest num_critics x dropped.

    Returns:
        Ascending. Shape (B, num_critics x (num_quantiles - dropped)).

    References:
        Kuznetsov et al. 2020, section 3 and figure 2.
    """
    num_critics, _, num_quantiles = quantiles.shape
    pooled = quantiles.transpose(0, 1).flatten(1)
    return pooled.sort(dim=1).values[:, : num_critics * (num_quantiles - dropped)]


def quantile_huber_losses(
    quantiles: torch.Tensor, targets: torch.Tensor, row_weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Return each critic's quantile regression loss of every row, with Huber's threshold of 1.

    The mean over quantiles m and atoms i of |tau_m - [y_i < z_m]| H(y_i - z_m), where
    tau_m = (2 m - 1) / (2 num_quantiles), H(u) = u^2 / 2 for |u| <= 1 and |u| - 1/2 beyond.

    Args:
        quantiles: Shape (num_critics, B, num_quantiles).
        targets: Without gradient. Shape (B, num_atoms).
        row_weights: Factors of the rows' losses; None for 1 each. Shape (B,).

    Returns:
        Shape (num_critics, B).

    References:
        Kuznetsov et al. 2020, section 3; Dabney et al. 2018, arXiv:1710.10044, eq. 9 and 10.
    """
    num = quantiles.shape[-1]
    fractions = ((torch.arange(num) + 0.5) / num).unsqueeze(1)
    found, wanted = quantiles.unsqueeze(-1), targets.unsqueeze(1)
    shape = (*quantiles.shape, targets.shape[-1])
    with torch.no_grad():
        weights = torch.where(wanted < found, 1.0 - fractions, fractions)
    errors = functional.huber_loss(found.expand(shape), wanted.expand(shape), reduction="none")
    rows = (weights * errors).mean(dim=(2, 3))
    return rows if row_weights is None else rows * row_weights
