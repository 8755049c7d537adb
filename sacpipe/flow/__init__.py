"""The steps of a run as plain functions, and the summary of a run."""
