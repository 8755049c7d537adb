"""The orchestra: stages, the flow around them, the ledger and the commands. Nothing below imports it."""
