"""Experience in memory (replay buffer) and on disk (replay pool). NumPy and safetensors only, no pickle."""
