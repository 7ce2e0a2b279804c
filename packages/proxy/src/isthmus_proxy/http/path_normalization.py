"""Paths in their canonical form, as normalize_path, merge_slashes and path_with_escaped_slashes_action ask for it.

Envoy's own (RFC 3986, 6.2.2, with its departures): escapes of unreserved characters are undone, a backslash is a slash, dot
segments go, a few characters that no path may hold are escaped. The query is never touched. Pure.
"""

from __future__ import annotations

import re

from isthmus_proxy.http.local_reply import LocalReply

KEEP_UNCHANGED = "KEEP_UNCHANGED"
REJECT_REQUEST = "REJECT_REQUEST"
UNESCAPE_AND_REDIRECT = "UNESCAPE_AND_REDIRECT"
UNESCAPE_AND_FORWARD = "UNESCAPE_AND_FORWARD"

_REFUSED = "path_normalization_failed"
_ESCAPED_SLASH = re.compile(rb"%(?:2[Ff]|5[Cc])")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_TRAILING_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}\Z")
_TO_ESCAPE = re.compile(rb'["<>^`{|}]')
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class PathNormalizer:
    """What one connection manager does to paths."""

    __slots__ = ("_canonical", "_merge", "_slashes")

    def __init__(self, *, normalize_path: bool, merge_slashes: bool, escaped_slashes: str) -> None:
        self._canonical = normalize_path
        self._merge = merge_slashes
        self._slashes = escaped_slashes

    def apply(self, path: bytes) -> tuple[bytes, LocalReply | None]:
        """(path to route and forward, reply in place of both): 400 for what is refused, 307 to the canonical path."""
        bare, mark, query = path.partition(b"?")
        redirected = False
        if self._slashes != KEEP_UNCHANGED and _ESCAPED_SLASH.search(bare):
            bare = _ESCAPED_SLASH.sub(lambda found: b"/" if found[0][1:2] == b"2" else b"\\", bare)
            if self._slashes == REJECT_REQUEST:
                return bare + mark + query, LocalReply(400, _REFUSED, close=True)
            redirected = self._slashes == UNESCAPE_AND_REDIRECT
        if self._canonical:
            canonical = canonical_path(bare)
            if canonical is None:
                return path, LocalReply(400, _REFUSED, close=True)
            bare = canonical
        if self._merge:
            bare = merged_slashes(bare)
        path = bare + mark + query
        if redirected:
            return path, LocalReply(307, _REFUSED, headers=((b"location", path),))
        return path, None


def canonical_path(path: bytes) -> bytes | None:
    """``path``, without query, in canonical form; None if it has none: it does not begin with a slash, or escapes a NUL."""
    if not path.startswith((b"/", b"\\")) or b"%00" in path:
        return None
    path = _unescaped(path.replace(b"\\", b"/")) if b"%" in path else path.replace(b"\\", b"/")
    if b"/." in path:
        path = _without_dot_segments(path)
    return _TO_ESCAPE.sub(lambda found: b"%%%02X" % found[0][0], path)


def _unescaped(path: bytes) -> bytes:
    """Undo the escapes of unreserved characters. A per cent sign before which that would make a new escape is escaped."""
    out = bytearray()
    position = 0
    for found in _ESCAPE.finditer(path):
        value = int(found[1], 16)
        out += path[position : found.start()]
        position = found.end()
        if value not in _UNRESERVED:
            out += found[0]
            continue
        out.append(value)
        if _TRAILING_ESCAPE.search(out, max(0, len(out) - 3)):
            out[-2:-2] = b"25"
    return bytes(out + path[position:])


def _without_dot_segments(path: bytes) -> bytes:
    kept: list[bytes] = []
    segments = path[1:].split(b"/")
    for segment in segments:
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)


def merged_slashes(path: bytes) -> bytes:
    """``path`` with each run of slashes made one; a path of slashes alone keeps two, as in Envoy."""
    if b"//" not in path:
        return path
    inner = b"/".join([segment for segment in path.split(b"/") if segment])
    return (b"/" if path.startswith(b"/") else b"") + inner + (b"/" if path.endswith(b"/") else b"")
