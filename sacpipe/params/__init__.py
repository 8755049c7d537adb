"""The whole params.yaml: its model, and a complete file for any task."""

DEFAULT_SEED = 1
"""Seed of a new params.yaml."""
DEFAULT_ALGORITHM = "sac"
"""Algorithm of a new params.yaml."""
