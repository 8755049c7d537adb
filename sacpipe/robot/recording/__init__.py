"""Recordings of a robot: a replay pool, and for each transition the decision that led to it."""
