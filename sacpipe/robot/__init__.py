"""What runs on a robot: the policy, the runtime with its guards, the control loop, the load gate. No torch."""
