"""Virtual host selection by authority: exact, longest suffix wildcard, longest prefix wildcard, ``*`` (route.v3.VirtualHost)."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus_proxy.route.model import VirtualHost

_Wildcards = dict[int, dict[bytes, int]]


class DomainIndex:
    """Positions of virtual hosts by domain. Domains are unique, which ``config.route`` has checked."""

    __slots__ = ("_default", "_exact", "_prefixes", "_strip_port", "_suffixes")

    def __init__(self, hosts: Sequence[VirtualHost], strip_port: bool) -> None:
        self._strip_port = strip_port
        self._exact: dict[bytes, int] = {}
        self._default: int | None = None
        suffixes: _Wildcards = {}
        prefixes: _Wildcards = {}
        for position, host in enumerate(hosts):
            for domain in host.domains:
                if domain == b"*":
                    self._default = position
                elif domain.startswith(b"*"):
                    suffixes.setdefault(len(domain) - 1, {})[domain[1:]] = position
                elif domain.endswith(b"*"):
                    prefixes.setdefault(len(domain) - 1, {})[domain[:-1]] = position
                else:
                    self._exact[domain] = position
        self._suffixes = _longest_first(suffixes)
        self._prefixes = _longest_first(prefixes)

    def find(self, authority: bytes) -> int | None:
        """Return the position of the virtual host for ``authority`` in any case, or None."""
        host = authority.lower()
        if self._strip_port:
            host = without_port(host)
        position = self._exact.get(host)
        if position is None and (self._suffixes or self._prefixes):
            position = self._wildcard(host)
        return self._default if position is None else position

    def _wildcard(self, host: bytes) -> int | None:
        size = len(host)
        # The wildcard stands for at least one character, hence ``<`` and not ``<=``.
        for length, positions in self._suffixes:
            if length < size and (position := positions.get(host[size - length :])) is not None:
                return position
        for length, positions in self._prefixes:
            if length < size and (position := positions.get(host[:length])) is not None:
                return position
        return None


def _longest_first(wildcards: _Wildcards) -> list[tuple[int, dict[bytes, int]]]:
    return sorted(wildcards.items(), reverse=True, key=lambda item: item[0])


def without_port(host: bytes) -> bytes:
    """Return ``host`` without a port of digits; the colons of a bracketed IPv6 address are no port (RFC 3986, 3.2.2)."""
    name, colon, port = host.rpartition(b":")
    if colon and port.isdigit() and (b":" not in name or name.endswith(b"]")):
        return name
    return host
