"""An orchestrator that keeps a journal: plain Python calls the steps, and each ends as one JSON line."""

import json
import time

from sacpipe.flow.orchestrator import Flow, call_step
from sacpipe.flow.summary import Summary
from sacpipe.project.workspace import Workspace


class Journal:
    """Appends name, outcome and seconds of each step to .sacpipe/journal.jsonl."""

    name = "journal"

    def __init__(self, workspace: Workspace) -> None:
        self._path = workspace.state / "journal.jsonl"

    def describe(self) -> str:
        """Return where the journal is."""
        return f"a journal in {self._path}"

    def start(self) -> None:
        """Make the folder of the journal."""
        self._path.parent.mkdir(parents=True, exist_ok=True)

    def run(self, flow: Flow) -> Summary:
        """Run the flow."""
        summary = flow(self._call)
        self._write("run", summary.task, summary.seconds)
        return summary

    def _call(self, name, step, *arguments):
        started, outcome = time.perf_counter(), "failed"
        try:
            result = call_step(name, step, *arguments)
            outcome = "done"
        finally:
            self._write(name, outcome, time.perf_counter() - started)
        return result

    def _write(self, step, outcome, seconds):
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, "outcome": outcome, "seconds": seconds}) + "\n")
