"""Policies in simulated tasks: whole episodes, and a simulated robot in real time."""
