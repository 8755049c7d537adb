"""The outside world, one file each: MLflow keeps the ledger and the registry, DVC the bytes."""
