"""Verify a folder by its model.sig with OpenSSF's own verifier: `python verify_model.py FOLDER PUBLIC_KEY`."""

import sys
from pathlib import Path

from model_signing import verifying

folder, public_key = map(Path, sys.argv[1:])
verifying.Config().use_elliptic_key_verifier(public_key=public_key).verify(folder, folder / "model.sig")
