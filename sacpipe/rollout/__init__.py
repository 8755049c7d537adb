"""A new bundle into service: store, sources, following an alias, shadow, watch, and the way back."""
