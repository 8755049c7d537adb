"""What a robot records: a replay pool, and beside each transition how it came about."""
