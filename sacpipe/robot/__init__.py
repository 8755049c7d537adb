"""Code that runs on a robot: policy, runtime and guards, control loop, load gate, recorder. No torch."""
