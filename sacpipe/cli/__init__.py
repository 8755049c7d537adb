"""The commands of `sacpipe`, one file each. A module offers `HELP`, `EXAMPLE`, `add_arguments` and `run`."""
