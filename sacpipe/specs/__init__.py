"""Observation and action terms, and the records that packages exchange: steps, transitions, batches."""
