"""Addresses of SQLite databases, in the form that MLflow and Prefect hand to SQLAlchemy 2.1.

SQLAlchemy unquotes the path of such an address, so `%`, `?` and `#` in a folder's name have to be quoted.
"""

from pathlib import Path
from urllib.parse import unquote


def sqlite_address(path: Path, driver: str = "") -> str:
    """Return the address of a database.

    Args:
        path: Absolute path of the file.
        driver: Name of the Python driver; empty for SQLAlchemy's own choice.
    """
    plain = str(path)
    quoted = plain.replace("%", "%25").replace("?", "%3F").replace("#", "%23")
    if quoted != plain and not driver:
        driver = "pysqlite"  # after `sqlite:///`, MLflow would make the folder of the quoted name
    return f"sqlite+{driver}:///{quoted}" if driver else f"sqlite:///{quoted}"


def sqlite_file(address: str) -> Path | None:
    """Return the path of the file in an address of SQLite; None where it is the address of something else."""
    scheme, separator, rest = address.partition(":///")
    if not separator or scheme.partition("+")[0] != "sqlite":
        return None
    return Path(unquote(rest.partition("?")[0]))
