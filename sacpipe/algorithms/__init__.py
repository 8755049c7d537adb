"""The table of algorithms: one file each, one member of the union each."""

from sacpipe.algorithms.sac import SACConfig

AlgorithmConfig = SACConfig
ALGORITHMS = (SACConfig,)
