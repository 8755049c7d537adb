"""dvc.yaml: the outputs of each stage."""

from pathlib import Path

from sacpipe.core.config import read_yaml


def graph_outputs(dvc_yaml: Path) -> dict[str, dict[str, bool]]:
    """Return, by stage, each output's path and whether DVC caches it.

    Raises:
        ConfigError: the file is missing or is not a YAML mapping.
    """
    found: dict[str, dict[str, bool]] = {}
    for stage, entry in (read_yaml(dvc_yaml).get("stages") or {}).items():
        found[stage] = {}
        for item in [item for kind in ("outs", "metrics", "plots") for item in entry.get(kind) or ()]:
            options = {item: {}} if isinstance(item, str) else item
            found[stage] |= {path: (option or {}).get("cache", True) for path, option in options.items()}
    return found
