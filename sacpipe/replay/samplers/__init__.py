"""The table of samplers: how batches are drawn from replay buffers, one file each."""

from sacpipe.core.members import Members

SAMPLERS = Members(
    "sampler",
    "sacpipe.samplers",
    {
        "uniform": "sacpipe.replay.samplers.uniform:UniformConfig",
        "n_step": "sacpipe.replay.samplers.n_step:NStepConfig",
        "hindsight": "sacpipe.replay.samplers.hindsight:HindsightConfig",
        "prioritised": "sacpipe.replay.samplers.prioritised:PrioritisedConfig",
    },
)
