"""How a rollout ends."""

from typing import Literal

Outcome = Literal["serves", "rejected", "rolled_back", "replaced", "withdrawn"]
"""How a rollout ended. `replaced`: another bundle was offered in the shadow phase. `withdrawn`: the source
names another bundle now, or an error that is not the candidate's ended the phase."""
