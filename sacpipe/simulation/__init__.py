"""Policies in simulated tasks: episodes to watch, and a simulated robot in real time."""
