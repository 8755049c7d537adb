"""Shared by every other package, the robot's included: errors, files, locks, configuration and seeds."""
