"""params.yaml as a whole: its model, and a complete file for any task."""
