"""The pipeline of this project: its stages, and the flow that runs them."""
