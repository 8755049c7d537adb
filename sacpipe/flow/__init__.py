"""The steps of a run as plain functions, and the summary it ends with."""
