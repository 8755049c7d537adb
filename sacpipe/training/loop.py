"""The training loop, to be read first: act, step, store, sample, update, evaluate, checkpoint.

A round is one step in each environment. The simulators of a round wait for the updates of the one before, so
that the newest policy acts; with `policy_lag_rounds: 1` they step during these updates.
A run that was interrupted continues from its last checkpoint to the same bytes as one that was not.
"""

from collections.abc import Callable
from typing import Protocol

from sacpipe.core.errors import InterruptedRunError
from sacpipe.training.run import Run


class Progress(Protocol):
    """Receives how far the run is: a display, a notebook, nothing."""

    def update(self, env_steps: int, latest_return: float | None) -> None:
        """Receive the present step and the mean deterministic return of the last evaluation."""
        ...


def train(run: Run, should_stop: Callable[[], bool], progress: Progress) -> None:
    """Take a run from its present step to its last one.

    Raises:
        InterruptedRunError: `should_stop` returned true; a checkpoint was written first.
        DivergenceError: a loss or a parameter is not finite; the last checkpoint stays.
        MemberError: the algorithm, the engine or the sampler raised an error; the last checkpoint stays.
        SimulatorError: the task raised an error, or returned a value that its specification excludes; the
            last checkpoint stays.
    """
    training = run.params.training
    if run.env_steps == 0:
        run.evaluate()
    while not run.is_finished:
        if run.acting_gradient_steps is None:
            run.act()
        steps = run.step()
        run.store(steps)
        run.end_episodes(steps)
        if training.policy_lag_rounds:
            run.act()
        if run.env_steps > training.random_steps:
            run.update()
        log_and_checkpoint(run, progress)
        if should_stop():
            run.checkpoint()
            raise InterruptedRunError(
                f"training was asked to stop at step {run.env_steps} of {training.total_steps}. A checkpoint "
                "is kept; the same command continues from it."
            )


def log_and_checkpoint(run: Run, progress: Progress) -> None:
    """Log, evaluate and write a checkpoint if due after the present round."""
    training = run.params.training
    was_logged = run.is_due(training.log_interval_steps)
    if was_logged:
        run.log()
    if run.is_due(training.evaluation_interval_steps):
        run.evaluate()
    if run.is_stopped and not was_logged:
        run.log()
    if run.is_due(training.checkpoint_interval_steps):
        run.checkpoint()
    if run.is_due(training.log_interval_steps):
        progress.update(run.env_steps, run.evaluator.latest_return)
