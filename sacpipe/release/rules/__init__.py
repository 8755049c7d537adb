"""The rules of the release gate, one file each."""
