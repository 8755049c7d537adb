"""A small file of sections: a table with two members, a union by tag, a list of members, an optional section."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.members import Members, member_field
from sacpipe.params.presets import preset_tree
from sacpipe.specs.budget import Budget


class Mlp(Config):
    """Multilayer perceptron."""

    name: str
    """Name in the table."""
    hidden_dims: tuple[int, ...]
    """Units of each hidden layer."""

    @classmethod
    def preset(cls, _spec: Any, budget: Any) -> dict[str, Any]:
        """As wide as the budget says."""
        return {"hidden_dims": [budget.hidden_dim] * 2}


class Linear(Config):
    """One matrix. No more."""

    name: str
    bias: bool = True
    """Whether there is a bias."""


TRUNKS = Members("trunk", "tests.trunks", {"mlp": f"{__name__}:Mlp", "linear": f"{__name__}:Linear"})


class Learned(Config):
    mode: Literal["learned"]
    """Rule: learned, or fixed with `value` only."""
    rate: float
    """Learning rate. It has no unit."""


class Fixed(Config):
    mode: Literal["fixed"]
    value: float

    @classmethod
    def preset(cls, _spec: Any, _budget: Any) -> dict[str, Any]:
        return {"value": 0.5}


class Video(Config):
    height: int
    """Height in pixels."""

    @classmethod
    def preset(cls, _spec: Any, _budget: Any) -> dict[str, Any]:
        return {"height": 320}


class Algorithm(Config):
    """A learner, of a paper."""

    name: Literal["small"]
    """Name of the algorithm."""
    trunk: member_field(TRUNKS)  # type: ignore[valid-type] - the type is made by a call
    """Hidden layers of all networks."""
    temperature: Annotated[Learned | Fixed, Field(discriminator="mode")]
    """Weight of the entropy term."""
    heads: tuple[member_field(TRUNKS), ...]  # type: ignore[valid-type] - as above
    """Last layers, one a line."""
    video: Video
    """Video of an episode."""
    limit: Video | None
    """ONNX limit; null for none."""

    @classmethod
    def preset(cls, _spec: Any, budget: Any) -> dict[str, Any]:
        rate = budget.learning_rate
        return {
            "trunk": {"name": "mlp"},
            "temperature": {"mode": "learned", "rate": rate},
            "heads": [{"name": "linear"}, {"name": "mlp", "hidden_dims": [3]}],
            "limit": None,
        }


class File(Config):
    """A whole file."""

    seed: int
    """Seed of all random numbers."""
    algorithm: Algorithm
    """Learner."""


BUDGET = Budget(1000, hidden_dim=7, learning_rate=2e-3)


def small_tree(
    chosen: Mapping[str, Any] = MappingProxyType({}), model: type[Config] = File
) -> dict[str, Any]:
    """Return the preset of a file, with seed 1 and some values chosen."""
    seed = {"seed": 1} if model is File else {}
    return preset_tree(model, {**seed, **chosen}, None, BUDGET)  # type: ignore[arg-type] - no model reads the spec
