"""What a network sees of an observation: a group's float32 terms as one vector, and its images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

if TYPE_CHECKING:
    from sacpipe.networks.graph import GraphDraft

Group = Literal["policy", "critic"]


class Inputs(NamedTuple):
    """Observations of one group as tensors."""

    vector: torch.Tensor
    """float32, shape (B, vector_dim)."""
    images: tuple[torch.Tensor, ...]
    """Raw images in the order of the specification. uint8, shape (B, height, width, channels) each."""

    def repeated(self, times: int) -> "Inputs":
        """Return all observations one after the other, then all of them again, and so on."""
        images = tuple(image.repeat(times, 1, 1, 1) for image in self.images)
        return Inputs(self.vector.repeat(times, 1), images)


class GroupInputs:
    """Finds the inputs of one group in observations of a task.

    Args:
        spec: Of the task, or its `policy_spec`.
        group: Whose terms are taken.
    """

    def __init__(self, spec: EnvSpec, group: Group) -> None:
        self.group = group
        columns = spec.layout.group_columns(group)
        self.vector_dim = columns.stop - columns.start
        """Entries of the group's float32 terms."""
        self.vector_terms = tuple(term for term in spec.layout.vector_terms if group in term.groups)
        """The group's float32 terms in the order of the vector."""
        self.image_terms = tuple(term for term in spec.layout.image_terms if group in term.groups)
        """The group's uint8 terms in the order of the specification."""

        self._image_names = tuple(term.name for term in self.image_terms)

    def of(self, observations: Observation) -> Inputs:
        """Return B observations as tensors, which share their memory."""
        images = tuple([torch.from_numpy(observations.images[name]) for name in self._image_names])
        return Inputs(torch.from_numpy(observations.group(self.group)), images)

    def single(self, observation: Observation) -> tuple[FloatArray, tuple[NDArray[np.uint8], ...]]:
        """Return one observation as arrays, which share its memory."""
        images = tuple([observation.images[name] for name in self._image_names])
        return observation.group(self.group), images

    def of_terms(self, names: Sequence[str], terms: Sequence[torch.Tensor]) -> Inputs:
        """Return B observations that are given as one tensor a term.

        Args:
            names: Of the terms.
            terms: float32 or uint8, shape (B, *shape of the term) each.
        """
        by_name = dict(zip(names, terms, strict=True))
        parts = [
            by_name[term.name] if len(term.shape) == 1 else by_name[term.name].reshape(-1, term.size)
            for term in self.vector_terms
        ]
        images = tuple(by_name[term.name] for term in self.image_terms)
        if not parts:
            # `len` would fix the batch size in an export.
            return Inputs(images[0].flatten(1)[:, :0].float(), images)
        return Inputs(parts[0] if len(parts) == 1 else torch.cat(parts, dim=1), images)

    def describe(self, graph: "GraphDraft") -> tuple[str | None, tuple[str, ...]]:
        """Write `of_terms` down.

        Args:
            graph: Its inputs have the names of the terms.

        Returns:
            The names of the vector, or None where there is no float32 term, and of the images.
        """
        parts = [
            term.name if len(term.shape) == 1 else graph.rows(term.name, term.size, f"row_{place}")
            for place, term in enumerate(self.vector_terms)
        ]
        images = tuple(term.name for term in self.image_terms)
        return (graph.joined(parts, "observation") if parts else None), images
