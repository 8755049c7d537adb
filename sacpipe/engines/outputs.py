"""Who computes a policy's outputs outside of training: its engine, or the network itself."""

from sacpipe.engines import EngineSection
from sacpipe.networks.policies.base import PolicyNetwork


def compute_outputs(engine: EngineSection, policy: PolicyNetwork) -> bool:
    """Let an engine compute a policy's outputs for single observations, if it has `compute_outputs`.

    Returns:
        Whether it does, so that they are the same bytes wherever its trainings are.
    """
    compute = getattr(engine, "compute_outputs", None)
    return compute is not None and bool(compute(policy))
