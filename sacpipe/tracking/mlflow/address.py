"""Addresses of databases that hold a password, and of PostgreSQL's driver."""

import importlib.util
import re
from urllib.parse import unquote

from sacpipe.core.errors import ConfigError

_USER = re.compile(r"(?<=://)([^:@/?]*):(.*)@")
_QUERY = re.compile(r"(?<=[?&])((?:ssl)?password)=([^&]*)")
_DRIVER = "postgresql+psycopg2://"


def hide_password(address: str, text: str | None = None) -> str:
    """Return a text with `***` for the password of an address; the address itself where no text is given."""
    shown = _QUERY.sub(r"\1=***", _USER.sub(r"\1:***@", address))
    if text is None:
        return shown
    text = text.replace(address, shown)
    for _, password in [*_USER.findall(address), *_QUERY.findall(address)]:
        for form in {password, unquote(password)} - {""}:
            text = text.replace(form, "***")
    return text


def is_postgresql(address: str) -> bool:
    """Return whether an address is one of PostgreSQL."""
    return address.partition("://")[0].partition("+")[0] in ("postgresql", "postgres")


def check_driver(address: str, variable: str) -> None:
    """Check that an address of PostgreSQL names the driver psycopg2, and that it is installed; others pass.

    Args:
        address: The address.
        variable: Environment variable that has it, for the message.

    Raises:
        ConfigError: it names no driver, another one, or psycopg2 is missing. The message does not show the
            address.
    """
    if not is_postgresql(address):
        return
    if not address.startswith(_DRIVER):
        raise ConfigError(
            f"{variable}: expected {_DRIVER}USER:PASSWORD@HOST/DATABASE, found an address that begins with "
            f"{address.partition('://')[0]}://. Without `+psycopg2`, SQLAlchemy loads another driver."
        )
    if importlib.util.find_spec("psycopg2") is None:
        raise ConfigError(
            f"{variable}: expected psycopg2, the driver of {_DRIVER}, found it is not installed. "
            "Install it by `pip install 'sacpipe[postgresql]'`."
        )
