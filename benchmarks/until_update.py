"""The train stage, which ends behind its first update; orchestration.py measures how long that takes.

python until_update.py     in a project's folder, whose modules are on PYTHONPATH
"""

import os

from sacpipe.core.fixed_arithmetic import restart_fixed


def main() -> None:
    """Be the stage, with an exit behind the update that makes the first gradient step."""
    from sacpipe.training.run import Run

    update = Run.update

    def update_once(self: Run) -> None:
        update(self)
        if self.learner.gradient_steps:
            os._exit(0)

    Run.update = update_once  # type: ignore[method-assign]
    from pipelines.stages.train import train_stage
    from sacpipe.project.stage import run_stage

    run_stage("train", train_stage)


if __name__ == "__main__":
    restart_fixed()  # before anything loads NumPy, as `pipelines.stages` does
    main()
