"""The replay pool on disk: sealed segments and a manifest, in NumPy and safetensors alone."""
