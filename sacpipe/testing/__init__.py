"""The contract suites that implementers run against members of their own."""
