"""A world in which every step of the release commands comes from a seed (decision 0025).

`python -m simulated SEED`, with tests/release on PYTHONPATH, runs one life and prints its operations.
"""
