"""Observation and action terms, and the records that cross borders: steps, transitions, batches."""
