"""The guard `sensor_frozen`: no term keeps its value for longer than it did in training.

A broken sensor often goes on to send its last value, with fresh stamps. A real sensor has noise, so that its
value differs at every step; a term that is constant by its nature, such as a goal, is constant in training
too.
"""

from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sacpipe.bundle.contract import Contract
from sacpipe.bundle.guards import MAX_STEPS
from sacpipe.robot.guards.guard import ArmedGuard, Guard, StepFacts
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation, ObservationLayout
from sacpipe.specs.terms import MAX_TERMS, TermName


class SensorFrozen(Guard):
    """A term did not change for more than `max_repeats` steps, and for longer than ever in training."""

    name: Literal["sensor_frozen"]
    max_repeats: int = Field(ge=0, le=MAX_STEPS)
    """Number of successive steps without a change that are allowed to every term. Where the envelope's
    `longest_constant` has a longer run of the term, that run is allowed."""
    terms: tuple[TermName, ...] | None = Field(min_length=1, max_length=MAX_TERMS)
    """Terms that are checked; null for all."""
    discards_observation: ClassVar[bool] = True

    @classmethod
    def example(cls) -> Self:
        """Return a config of three steps."""
        return cls(name="sensor_frozen", fallback="stop", max_repeats=3, terms=None)

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Give the same values at every step."""
        del contract
        step.observation.vector.fill(0.0)
        for image in step.observation.images.values():
            image.fill(0)

    def check_task(self, spec: EnvSpec) -> None:
        """Check that the terms exist."""
        names = [term.name for term in spec.observation]
        if unknown := [name for name in self.terms or () if name not in names]:
            raise ValueError(
                f"sensor_frozen.terms: expected names among {', '.join(names)}, found '{unknown[0]}'"
            )

    def arm(self, contract: Contract, period_s: float | None) -> ArmedGuard:
        """Return the armed guard with the number of repeats that each term may have."""
        del period_s
        runs = contract.envelope.longest_constant
        max_repeats = {
            term.name: max(self.max_repeats, runs.get(term.name, 1) - 1)
            for term in contract.spec.observation
            if self.terms is None or term.name in self.terms
        }
        return _Armed(contract.spec.layout, max_repeats)

    def looser_keys(self, weakest: Self) -> tuple[str, ...]:
        """More repeats are looser, and fewer terms are."""
        keys = ["max_repeats"] if self.max_repeats > weakest.max_repeats else []
        if self.terms is not None and (weakest.terms is None or set(weakest.terms) - set(self.terms)):
            keys.append("terms")
        return tuple(keys)


class _Armed(ArmedGuard):
    def __init__(self, layout: ObservationLayout, max_repeats: dict[str, int]) -> None:
        self._last: Observation | None = None
        names = [term.name for term in layout.vector_terms]
        self._starts = [layout.columns(name).start for name in names]
        self._allowed: NDArray[np.int64] = np.array(
            [max_repeats.get(name, np.iinfo(np.int64).max) for name in names], dtype=np.int64
        )
        self._repeats: NDArray[np.int64] = np.zeros(len(names), dtype=np.int64)
        self._images = {term.name: 0 for term in layout.image_terms if term.name in max_repeats}
        """Repeats of each image so far."""
        self._max_repeats = max_repeats

    def begin_episode(self) -> None:
        self._last = None

    def refuses_observation(self, step: StepFacts) -> bool:
        last, now = self._last, step.observation
        if last is None:
            self._last = now.copy()
            self._repeats.fill(0)
            self._images = dict.fromkeys(self._images, 0)
            return False
        is_frozen = self._count_numbers(last, now)
        for name, repeats in self._images.items():
            is_same = np.array_equal(last.images[name], now.images[name])
            self._images[name] = repeats + 1 if is_same else 0
            is_frozen |= self._images[name] > self._max_repeats[name]
            last.images[name][...] = now.images[name]
        return is_frozen

    def _count_numbers(self, last: Observation, now: Observation) -> bool:
        if not self._starts:
            return False
        is_same = np.logical_and.reduceat(last.vector == now.vector, self._starts)
        last.vector[:] = now.vector
        self._repeats += 1
        self._repeats *= is_same
        return bool((self._repeats > self._allowed).any())
