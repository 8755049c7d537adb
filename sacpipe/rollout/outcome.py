"""How a rollout ended. `accepted`: the bundle is the store's current one. `replaced`: another bundle was offered
in the shadow phase. `withdrawn`: the source names another bundle now, or an error that is not the candidate's
ended the phase."""
