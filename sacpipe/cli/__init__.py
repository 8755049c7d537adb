"""The commands of `sacpipe`, one file each. A module has `HELP`, `EXAMPLE`, `add_arguments` and `run`."""
