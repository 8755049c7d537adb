"""A plain folder as tracker and registry: JSON files and copies of bundles."""
