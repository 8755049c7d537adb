"""DVC: the only package that runs it."""
