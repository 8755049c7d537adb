"""The JSON files of a bundle: each value has exactly one text, so equal contracts have equal digests."""

import json
from typing import Literal, TypeVar

from pydantic import ValidationError

from sacpipe.core.config import Config
from sacpipe.core.errors import BundleError

FORMAT_VERSION: Literal[3] = 3

FETCH_AGAIN = "Fetch the bundle again, or export it again."
"""Last sentence of a message about a damaged bundle."""

_C = TypeVar("_C", bound=Config)


def parse_canonical(model: type[_C], data: bytes, name: str) -> _C:
    """Read manifest.json or contract.json; the bytes must be those that `render_canonical` returns.

    Args:
        model: Model of the file.
        data: Bytes of the file.
        name: Name of the file, for messages.

    Raises:
        BundleError: the bytes are not JSON, have another version or form, or do not fit the model.
    """
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise BundleError(f"{name}: expected JSON, found {exc}. {FETCH_AGAIN}") from exc
    version = tree.get("format_version") if isinstance(tree, dict) else None
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise BundleError(
            f"{name}: expected format_version {FORMAT_VERSION}, found {version!r}. "
            "Upgrade sacpipe here, or export the bundle again with the version installed here."
        )
    try:
        value = model.model_validate_json(data)
    except ValidationError as exc:
        raise BundleError(f"{name}: {explain(exc, 'the file')}. {FETCH_AGAIN}") from exc
    if render_canonical(value) != data:
        raise BundleError(f"{name}: expected sorted, indented JSON with each key once. {FETCH_AGAIN}")
    return value


def explain(exc: ValidationError, whole: str) -> str:
    """Return where a value from elsewhere is wrong, and how; `whole` names the value itself."""
    faults = []
    for fault in exc.errors(include_url=False, include_context=False):
        path = ".".join(str(part) for part in fault["loc"]) or whole
        message = fault["msg"].removeprefix("Value error, ")
        faults.append(f"{path}: {message}, found {str(fault['input'])[:60]}")
    return "; ".join(faults)


def render_canonical(value: Config) -> bytes:
    """Return the canonical JSON text of a value: sorted keys, two spaces of indentation, a line end."""
    return (json.dumps(value.as_tree(), sort_keys=True, indent=2, allow_nan=False) + "\n").encode()
