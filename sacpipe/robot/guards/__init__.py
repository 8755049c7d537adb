"""The guards of the robot's runtime, one file each: config, thresholds, and the judge of a step."""
