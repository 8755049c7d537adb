"""Standard streams that the caller closed, e.g. by `sacpipe run 2>&-` or as a service without a terminal."""

import os
import sys


def open_closed_streams() -> None:
    """Let each of stdin, stdout and stderr that is closed lead to /dev/null, for Python and for C.

    A process without descriptor 2 gives its number to the next file that it opens, and libraries that start
    a child or print a warning fail. Children inherit the three.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # open() gives the lowest free number
        os.set_inheritable(number, True)
    os.close(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))
