"""The guards of the robot's runtime, one file each: config, thresholds, and the check of a step."""
