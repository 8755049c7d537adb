"""The status page: one HTML file that loads no other, and a Content-Security-Policy that enforces this."""

import base64
import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import Self


@dataclass(frozen=True, slots=True)
class Page:
    """The page's bytes and its Content-Security-Policy."""

    html: bytes
    policy: bytes

    @classmethod
    def load(cls) -> Self:
        """Read the page from the package."""
        html = resources.files("sacpipe.server").joinpath("page.html").read_text(encoding="utf-8")
        script, style = _hash(html, "script"), _hash(html, "style")
        policy = (
            f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return cls(html.encode(), policy.encode())


def _hash(html: str, tag: str) -> str:
    """Return the source expression that allows the page's single element of a kind, and no other."""
    (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
