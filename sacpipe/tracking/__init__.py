"""Tracking: runs in the ledger, versions and aliases of policies, the promotion history, and lineage."""
