"""What critics see: the critic group of an observation, normalised if the params say so."""

from sacpipe.networks.inputs import GroupInputs, Inputs
from sacpipe.networks.normaliser import make_normaliser
from sacpipe.networks.policies.base import PolicyNetwork
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation


class CriticInputs:
    """Inputs of a learner's critics.

    Where policy and critics see the same terms, they share the policy's normaliser, else the critics have one
    of their own.

    Args:
        spec: Of the task.
        policy: The learner's.
        normalised_terms: Names of the terms that are normalised.
    """

    def __init__(self, spec: EnvSpec, policy: PolicyNetwork, normalised_terms: tuple[str, ...]) -> None:
        self.group = GroupInputs(spec, "critic")
        self.is_shared = self.group.vector_terms == policy.inputs.vector_terms
        """Whether policy and critics see the same vector."""
        self.own_normaliser = None if self.is_shared else make_normaliser(self.group, normalised_terms)
        self.normaliser = policy.normaliser if self.is_shared else self.own_normaliser

    def of(self, observations: Observation) -> Inputs:
        """Return B observations as the critics take them."""
        inputs = self.group.of(observations)
        if self.normaliser is None:
            return inputs
        return inputs._replace(vector=self.normaliser(inputs.vector))

    def observe(self, observation: Observation) -> None:
        """Take one training observation into the critics' own normaliser, if there is one."""
        if self.own_normaliser is not None:
            self.own_normaliser.observe(observation.group("critic"))
