"""Kills a server that follows, at the moments that matter, and starts it again; prints a JSON report.

Not a test itself: test_follow_kills.py runs it in a process of its own, because it forks and kills. An
audit hook sees every open, rename and start of a process before it happens.
"""

import http.client
import itertools
import json
import os
import signal
import sys
from pathlib import Path

from sacpipe.bundle.files import bundle_digest
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.server.__main__ import main

Moment = tuple[str, str, int]
"""An audit event, the end of one of its paths, and at which of such events."""


def kill_at(moment: Moment, armed: Path) -> None:
    """Die before such an operation, once a file says so."""
    event, path, number = moment
    seen = itertools.count(1)

    def hook(found: str, arguments: tuple[object, ...]) -> None:
        is_meant = found == event and any(str(argument).endswith(path) for argument in arguments[:2])
        if is_meant and armed.exists() and next(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def ask(port: int) -> str:
    """Return the digest of the bundle that serves; raises OSError where no server answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/v2/models/policy")
    found = json.loads(connection.getresponse().read())["properties"]["bundle_sha256"]
    connection.close()
    return str(found)


class Life:
    """A server in a process of its own, from its start to its end."""

    def __init__(self, folder: Path, moment: Moment) -> None:
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(writing, 2)
            os.close(reading)
            kill_at(moment, folder / "armed")
            words = ["--follow", "--store", str(folder / "store"), "--terms", str(folder / "terms.yaml")]
            os._exit(main([str(folder / "named"), *words, "--port", "0"]))
        os.close(writing)
        self.said = os.fdopen(reading)

    def until(self, text: str) -> str:
        """Return the line that holds a text; empty where the server dies before it says so."""
        return next((line for line in self.said if text in line), "")

    def end(self) -> int:
        """Return the exit code; reads the rest of the output, so that the server does not block."""
        self.said.read()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def name(folder: Path, bundle: Path) -> None:
    (folder / "next").symlink_to(bundle)
    (folder / "next").replace(folder / "named")


def run(folder: Path, first: Path, second: Path) -> dict[str, object]:
    """Start with one bundle, name the other, and die in its rollout once for each moment."""
    old, new = bundle_digest(first), bundle_digest(second)
    names = {old: "old", new: "new"}
    pull, gate = ("open", "policy.onnx", 1), ("subprocess.Popen", sys.executable, 1)
    through = ("os.rename", "current.json", 2)  # the first says that it is tried
    report: dict[str, list[str]] = {"served": [], "kept": [], "ends": []}
    name(folder, first)
    for moment in (pull, gate, through, ("", "", 0)):
        life = Life(folder, moment)
        port = int(life.until(" at http://").rpartition(":")[2])
        report["served"].append(names[ask(port)])
        if moment is pull:  # there is one at every look: what is to be read then is the new one
            name(folder, second)
        (folder / "armed").touch()
        if moment is not pull:
            name(folder, second)
        if not any(moment):
            life.until("accepted:")
            report["served"].append(names[ask(port)])
            os.kill(life.pid, signal.SIGTERM)
        report["ends"].append(str(life.end()))
        (folder / "armed").unlink()
        (folder / "named").unlink()  # what serves next is what the store has
        with BundleStore(folder / "store") as store:
            last = next(store.good(), None)
            report["kept"].append("none" if last is None else names[last.bundle_digest])
            for path in (folder / "store" / "sha256").iterdir():
                store.verify(path.name)  # each folder with a digest as its name is whole
    return dict(report)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(*(Path(word) for word in sys.argv[1:]))) + "\n")
