"""Dubbo URLs that stand as they are (in metadata), as node names."""

from __future__ import annotations

from urllib.parse import quote_plus


def encode_url(url: str, *, disabled: bool = False) -> str:
    """The URL as a node's name; ``disabled`` takes it out of service."""
    mark = f"{'&' if '?' in url else '?'}disabled=true" if disabled else ""
    return quote_plus(url + mark)
