"""The whole params.yaml: its model, and a complete file for any task."""
