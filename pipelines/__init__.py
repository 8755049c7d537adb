"""What a project owns: the stages, and the flow around them."""
