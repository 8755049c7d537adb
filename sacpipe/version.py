"""The version of sacpipe."""

__version__ = "0.1.0"
