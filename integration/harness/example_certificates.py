"""The certificates that the proxy's examples look for in ./certs."""

from __future__ import annotations

from pathlib import Path

from isthmus_proxy.tls.testing import Authority


def make_example_certificates(folder: Path) -> Path:
    """Make them below ``folder``; gives the folder that they are in."""
    authority = Authority(folder)
    for name in ("shop", "admin"):
        authority.issue(name, f"DNS:{name}.example.com")
    for name in ("client", "service"):
        authority.issue(name, f"URI:spiffe://example.com/ns/default/sa/{name}")
    return authority.directory


def with_certificates(text: str, certificates: Path) -> str:
    """An example whose certificates are in ``certificates``."""
    return text.replace(": certs", f": {certificates}")
