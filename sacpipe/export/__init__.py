"""Exports a trained network to the bundle that a robot runs."""
