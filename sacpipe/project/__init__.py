"""A project folder: paths, identity of stages, DVC, git, and whether a result can be had again."""
