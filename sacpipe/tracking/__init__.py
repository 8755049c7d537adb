"""Runs, versions and aliases; the history of promotions; lineage."""
