"""The bundle a robot runs: contract, manifest, graph rules, golden sequence, signature, guard settings."""
