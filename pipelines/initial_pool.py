"""Naming `data/pool` in params.yaml: a decision that git, DVC and the stage key then have.

Floor 5. docs/decisions/0010 says why the digest stands there.
"""

import re

from pipelines.workspace import Workspace
from sacpipe.core.errors import ConfigError
from sacpipe.core.files import write_text


def name_initial_pool(workspace: Workspace, sha256: str, share: float) -> None:
    """Change the one value of params.yaml and keep every comment.

    Args:
        workspace: Whose params.yaml.
        sha256: Of the pool's manifest.
        share: Of every batch, more than 0 and at most 1.

    Raises:
        ConfigError: params.yaml has no line `initial_pool:`.
    """
    text = workspace.params.read_text(encoding="utf-8")
    value = f"{{sha256: {sha256}, share: {share}}}"
    changed, count = re.subn(r"(?m)^( +initial_pool:)(?:[^#\n]*?)( *#.*)?$", rf"\1 {value}\2", text)
    if count != 1:
        raise ConfigError(
            f"{workspace.params}: expected one line `initial_pool:` under replay, found {count}. "
            "`sacpipe params TASK` prints a complete file."
        )
    write_text(workspace.params, changed)
