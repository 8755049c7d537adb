"""Pictures of a simulator without a screen."""
