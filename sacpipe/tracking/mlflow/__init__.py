"""MLflow: its tracking server or database, and its model registry. No other package imports MLflow."""
