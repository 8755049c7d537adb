"""A project folder: its paths, the identity of its stages, DVC, git, and whether its result can be had again."""
