"""How a new bundle becomes active on a robot: sources, bundle store, follower, shadow, watch, rollback."""
