"""The report: one self-contained HTML page about one trained policy, made from DVC's outputs alone."""
