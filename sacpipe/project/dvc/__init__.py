"""DVC, run as a child process. No other package runs it."""
