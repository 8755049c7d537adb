"""Contract tests that are shipped: run them on a task suite or another part of your own."""
