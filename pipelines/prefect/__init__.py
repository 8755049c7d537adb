"""Prefect as the orchestrator of a run: all that this project knows of it."""
