"""The bundle a robot gets: contract, manifest, graph rules, golden sequence, signature, guard settings."""
