"""The contract test of an orchestrator: run `check_orchestrator` before `sacpipe run --engine` names it.

Steps write to the workspace and to stderr, and DVC alone knows what is stale. So an orchestrator calls each
step in this process, one at a time, whenever the flow asks for it, and hands on results and errors as they
are.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sacpipe.core.errors import ContractError, StoreError, StoreUnavailableError
from sacpipe.core.fence import first_error
from sacpipe.evaluation.statistics import EvaluationSummary
from sacpipe.flow.orchestrator import Call, Flow, Orchestrator
from sacpipe.flow.release_steps import RegistryStatus
from sacpipe.flow.summary import Summary
from sacpipe.project.workspace import STAGES, Workspace
from sacpipe.release.verdict import Finding, Scores, Verdict

Make = Callable[[Workspace], Orchestrator]


def check_orchestrator(make: Make, folder: Path) -> None:
    """Test an orchestrator on flows of small steps. It takes some ten seconds: repetitions wait.

    Args:
        make: The orchestrator's class.
        folder: An empty folder. It gets a project of three stages, which have to run and never do.

    Raises:
        ContractError: the orchestrator breaks a rule. The message has its name, the rule and what was found.
    """
    stages = "".join(f"  {stage}: {{cmd: 'false'}}\n" for stage in STAGES)
    (folder / "dvc.yaml").write_text(f"stages:\n{stages}")
    trial = _Trial(make, Workspace(folder))
    trial.check_description()
    trial.check_steps()
    trial.check_refusal()
    trial.check_errors()
    for error in (StoreError("a step failed"), KeyError("unforeseen"), KeyboardInterrupt()):
        trial.check_end(error)


class _Trial:
    """Runs of one orchestrator, each by a new one of its class.

    Args:
        make: The orchestrator's class.
        workspace: Of a project whose stages have to run.
    """

    def __init__(self, make: Make, workspace: Workspace) -> None:
        self._make, self._workspace = make, workspace
        self._name = getattr(make, "__name__", repr(make))
        self._summary = example_summary(workspace)

    def _require(self, condition: bool, rule: str) -> None:
        if not condition:
            raise ContractError(f"orchestrator {self._name}: expected {rule}.")

    def _run(self, flow: Flow) -> Summary:
        orchestrator = self._make(self._workspace)
        orchestrator.start()
        return orchestrator.run(flow)

    def check_description(self) -> None:
        """It is an orchestrator with a name, and describes itself in a line before it is started."""
        made = self._make(self._workspace)
        self._require(isinstance(made, Orchestrator), f"the methods of Orchestrator, found {made!r}")
        self._require(bool(made.name), "a name")
        line = made.describe()
        self._require(bool(line) and len(line.splitlines()) == 1, f"one line from describe(), found {line!r}")

    def check_steps(self) -> None:
        """Each step is called in this process, in order, with its arguments, whenever the flow asks."""
        calls: list[tuple[int, object]] = []
        handed = object()

        def step(value: object) -> object:
            calls.append((os.getpid(), value))
            return value

        def flow(call: Call) -> Summary:
            for value in (handed, handed, 2):
                found = call("same name", step, value)
                self._require(found is value, f"the result of the step itself, found {found!r}")
                self._require(calls[-1][1] is value, "a step that has ended before the flow goes on")
            return self._summary

        for _ in range(2):
            calls.clear()
            found = self._run(flow)
            self._require(found == self._summary, f"the flow's summary from run(), found {found!r}")
            expected = [(os.getpid(), value) for value in (handed, handed, 2)]
            self._require(
                calls == expected, f"three calls in this process in each run, found {len(calls)}: {calls}"
            )

    def check_refusal(self) -> None:
        """A refused candidate is a result: the run ends with its summary, and is not repeated."""
        refused, calls = example_summary(self._workspace, is_accepted=False), []

        def flow(_call: Call) -> Summary:
            calls.append(refused)
            return refused

        found = self._run(flow)
        self._require(found == refused, f"the summary of a refused candidate from run(), found {found!r}")
        self._require(len(calls) == 1, f"one run of a flow that ends refused, found {len(calls)}")

    def check_errors(self) -> None:
        """A retryable error is repeated, another one is not, and the flow gets an error that it can catch."""

        def flow(call: Call) -> Summary:
            again = _Failing(StoreUnavailableError("later"), times=1)
            self._require(call("again", again) == "done", "a repeated step's result")
            self._require(again.calls == 2, f"one repetition of what failed once, found {again.calls - 1}")
            for error in (StoreUnavailableError("never"), StoreError("wrong"), KeyError("unforeseen")):
                self._check_caught(call, error)
            return self._summary

        self._run(flow)

    def _check_caught(self, call: Call, error: Exception) -> None:
        failing = _Failing(error)
        found = first_error(lambda: call(f"step of {error}", failing))
        self._require(found is error, f"the step's own error {error!r}, found {found!r}")
        is_repeated = failing.calls > 1
        retryable = isinstance(error, StoreUnavailableError)
        self._require(
            is_repeated is retryable,
            f"{error!r} {'' if retryable else 'not '}repeated, found {failing.calls} calls",
        )

    def check_end(self, error: BaseException) -> None:
        """An error that ends the flow ends the run."""
        found: BaseException | None
        try:
            found = first_error(lambda: self._run(lambda call: call("last", _Failing(error))))
        except KeyboardInterrupt as exc:
            found = exc
        self._require(type(found) is type(error), f"{error!r} from run(), found {found!r}")


class _Failing:
    """A step that raises an error: always, or the first times; `calls` counts its calls."""

    def __init__(self, error: BaseException, times: int = 1_000) -> None:
        self._error, self._times, self.calls = error, times, 0

    def __call__(self) -> Any:
        self.calls += 1
        if self.calls <= self._times:
            raise self._error
        return "done"


def example_summary(workspace: Workspace, *, is_accepted: bool = True) -> Summary:
    """Return the summary of a run whose candidate the release gate accepted, or refused."""
    returns = dict.fromkeys(("mean", "median", "iqm", "std", "min", "max", "ci_low", "ci_high"), -1.0)
    values = {f"return_{name}": value for name, value in returns.items()}
    evaluated = EvaluationSummary.parse({"episodes": 1, "length_mean": 1.0, "task_metrics": {}} | values)
    return Summary(
        task="example/task",
        outcomes=dict.fromkeys(STAGES, "ran"),
        deterministic=evaluated,
        bundle=evaluated,
        is_stochastic=False,
        verdict=_example_verdict(is_accepted=is_accepted),
        promotion=RegistryStatus(
            model_name="example",
            version=1,
            alias="candidate",
            candidate=1,
            previous=None,
            why="example",
            commit="0" * 40,
            uncommitted="",
            working_rules="",
            barred="",
        ),
        bundle_digest="0" * 64,
        pool_digest="0" * 32 + ".dir",
        report=workspace.report,
        pushed="",
        seconds=1.0,
    )


def _example_verdict(*, is_accepted: bool) -> Verdict:
    finding = Finding(
        rule="floor",
        expected="floor -2",
        found="mean return -1 of 1 episode",
        ok=is_accepted,
        figure=-1.0,
        threshold=-2.0,
        unit="return",
        advice="" if is_accepted else "Train longer.",
    )
    return Verdict(
        format_version=1,
        accepted=is_accepted,
        mode="enforce",
        model="example",
        version=1,
        candidate="0" * 64,
        champion=None,
        commit=None,
        findings=(finding,),
        episodes=1,
        time="2026-11-27T20:00:00+00:00",
        scores=Scores(candidate=(-1.0,), champion=()),
    )
