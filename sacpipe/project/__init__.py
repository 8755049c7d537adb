"""A project folder: its paths, stage keys, DVC, git, and the verification of a committed result."""
