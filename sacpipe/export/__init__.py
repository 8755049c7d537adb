"""From a trained network to the bundle a robot gets."""
