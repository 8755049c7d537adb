"""Replay pools on disk, the replay buffer in memory, and the samplers that draw batches from it."""
