"""Settings of a follower: how a source is polled, and what a bundle must pass. The file of `--terms`."""

from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field

from sacpipe.core.config import Config, read_yaml
from sacpipe.core.errors import ConfigError
from sacpipe.robot.load_gate import DEFAULT_GATE, LoadGateSettings

_KEY_DIGITS = 64


class RolloutSettings(Config):
    """Lengths and limits of the shadow phase and the watch phase."""

    shadow_s: float = Field(ge=0)
    """Minimum length of the shadow phase, in seconds."""
    min_shadow_steps: int = Field(ge=0)
    """Minimum number of compared steps in the shadow phase, and again in the watch phase: a robot that stands
    still proves nothing."""
    max_divergence: float = Field(gt=0)
    """Limit on the difference between candidate and other policy that 99 % of the steps keep, as a share of
    each action's range."""
    watch_s: float = Field(ge=0)
    """Minimum length of the watch phase, in seconds; until its end a failure rolls the candidate back."""
    max_deadline_misses: int = Field(ge=0)
    """Maximum number of missed deadlines in the watch phase."""


class FollowSettings(Config):
    """The whole file; docs/serving.md shows it with the defaults."""

    DEFAULT: ClassVar[dict[str, Any]] = {
        "poll_s": 10.0,
        "retry_s": 60.0,
        "keep": 5,
        "gate": DEFAULT_GATE.as_tree(),
        "rollout": {
            "shadow_s": 30.0,
            "min_shadow_steps": 500,
            "max_divergence": 1.0,
            "watch_s": 60.0,
            "max_deadline_misses": 5,
        },
    }

    poll_s: float = Field(gt=0)
    """Time between two polls of the source, in seconds."""
    retry_s: float = Field(gt=0)
    """Time after which a refused bundle is checked again, in seconds: the machine may have been busy."""
    keep: int = Field(ge=2)
    """Number of bundles that stay in the store."""
    gate: LoadGateSettings
    rollout: RolloutSettings

    @classmethod
    def read(cls, path: Path | None) -> Self:
        """Read a YAML file; a missing key has its default.

        An entry of `gate.public_keys` that is no key is the path of a file with a key, relative to this file.

        Args:
            path: The file; None for the defaults.

        Raises:
            ConfigError: names the key, what was expected and what was found.
        """
        if path is None:
            return cls.parse(cls.DEFAULT)
        tree = _merge(cls.DEFAULT, read_yaml(path))
        gate = tree["gate"]
        if isinstance(gate, dict) and isinstance(gate["public_keys"], list):
            gate["public_keys"] = [_read_key(path.parent, key) for key in gate["public_keys"]]
        return cls.parse(tree, source=str(path))


def _merge(default: Any, settings: Any) -> Any:
    """Return `settings` with the missing keys of every mapping from `default`."""
    if not isinstance(default, dict) or not isinstance(settings, dict):
        return settings
    merged = {
        key: _merge(default[key], value) if key in default else value for key, value in settings.items()
    }
    return default | merged


def _read_key(folder: Path, key: Any) -> Any:
    if not isinstance(key, str) or len(key) == _KEY_DIGITS:
        return key
    try:
        return (folder / key).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(
            f"gate.public_keys: expected {_KEY_DIGITS} hexadecimal digits or a file with them, found "
            f"'{key[:80]}': {exc}."
        ) from exc
