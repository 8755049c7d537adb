"""Work in a copy of this process, which may be killed."""

import json
import os
import traceback
from collections.abc import Callable
from typing import Any


class Copy:
    """A copy of this process that does some work."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._reader, sender = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._reader)
            try:
                with os.fdopen(sender, "w") as file:
                    json.dump(work(), file)
            except BaseException:  # noqa: BLE001 - the copy ends here
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        os.close(sender)

    def result(self) -> Any:
        """Wait for its end; return what the work returned, or None if it was killed."""
        with os.fdopen(self._reader) as file:
            text = file.read()
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        if code not in (0, -9):
            raise RuntimeError(f"the process ended with {code}")
        return json.loads(text) if code == 0 else None


def in_process(work: Callable[[], Any]) -> Any:
    """Do some work in a copy of this process; return its value, or None if it was killed."""
    return Copy(work).result()
