"""Contract tests that are shipped: run them on a task suite or another part of your own."""

MIN_SEEDS = 2
"""Smallest and usual number of seeds that a task is tested with: a difference needs two."""
