"""The training loop, what it measures, and how it continues after an interruption."""
