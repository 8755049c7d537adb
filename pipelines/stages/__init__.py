"""The stages, one file each: files in, files out."""
