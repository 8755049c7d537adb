"""What a stage's bytes depend on: found by looking, compared with what dvc.yaml names. docs/identity.md."""
