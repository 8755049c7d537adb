"""Proxies of the operator's environment: loopback is reached without them, and messages name them.

Prefect's temporary server, an MLflow server and a registry may run on this machine. Where HTTP_PROXY is set
and NO_PROXY is not, every client would ask the proxy for 127.0.0.1, which answers with an error or not.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_EXCEPTIONS = ("no_proxy", "NO_PROXY")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def without_proxy_on_loopback(variables: Mapping[str, str]) -> dict[str, str]:
    """Return NO_PROXY in both spellings, with the loopback addresses added; empty where no proxy is set.

    Both spellings, because some clients read one of them alone, and others let the lower one win.

    Args:
        variables: The environment that is set.
    """
    if not _proxy_names(variables):
        return {}
    found = {}
    for name, other in (_EXCEPTIONS, _EXCEPTIONS[::-1]):
        hosts = [host.strip() for host in (variables.get(name) or variables.get(other, "")).split(",")]
        if "*" not in hosts:
            hosts += [host for host in _LOOPBACK if host not in hosts]
        found[name] = ",".join(host for host in hosts if host)
    return found


def is_loopback(url: str) -> bool:
    """Return whether an address names this machine."""
    host = urlsplit(url).hostname or ""
    return host in _LOOPBACK or host.startswith("127.")


def proxy_advice(url: str, variables: Mapping[str, str]) -> str:
    """Return a sentence that names the proxy variables in the way of an address, or an empty text.

    Args:
        url: The address that does not answer.
        variables: The environment that is set.
    """
    names = _proxy_names(variables)
    host = urlsplit(url).hostname
    if not names or not host or is_loopback(url):
        return ""
    exceptions = (variables.get("no_proxy") or variables.get("NO_PROXY", "")).split(",")
    if any(one == "*" or f".{host}".endswith(f".{one.strip().lstrip('.')}") for one in exceptions if one):
        return ""
    return f" It was asked through the proxy of {' and '.join(names)}; NO_PROXY={host} asks it directly."


def _proxy_names(variables: Mapping[str, str]) -> list[str]:
    """Return the variables that name a proxy, as they are spelled."""
    return [name for name in variables if name.lower() in _PROXIES and variables[name]]
