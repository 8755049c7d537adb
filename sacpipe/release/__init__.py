"""Whether a bundle may be released, and the alias that releases it."""
