"""The replay pool on disk: sealed segments and a manifest, with NumPy and safetensors only."""
