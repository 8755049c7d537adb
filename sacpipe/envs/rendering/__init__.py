"""Off-screen images of a simulator."""
