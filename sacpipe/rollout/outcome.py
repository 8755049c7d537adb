"""How a rollout ends."""

from typing import Literal

Outcome = Literal["accepted", "rejected", "rolled_back", "replaced", "withdrawn"]
"""How a rollout ended. `accepted`: the bundle is the store's current one. `replaced`: another bundle was
offered in the shadow phase. `withdrawn`: the source names another bundle now, or an error that is not the
candidate's ended the phase."""
