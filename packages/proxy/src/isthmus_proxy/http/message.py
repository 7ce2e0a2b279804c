"""One request or response head as every codec gives it and every filter reads it.

Header names are lower-case bytes, as Envoy's; values are bytes without surrounding white space. ``host`` is not among the
headers of a request: it is ``authority``, as in HTTP/2 (RFC 9113, 8.3.1), and the HTTP/1 codec writes it back first.
"""

from __future__ import annotations

Headers = list[tuple[bytes, bytes]]

PER_EXCHANGE = frozenset({b"x-request-id", b"x-envoy-upstream-service-time", b"date"})
"""Headers of planned heads whose values are put in for each exchange."""


class RequestHead:
    """Method, target and headers of one request; changed in place by filters before it is sent upstream.

    ``repeated``: many exchanges share this head, which differs among them in the request's identifier at most.
    """

    __slots__ = ("authority", "headers", "method", "path", "repeated", "scheme", "version")

    def __init__(
        self, method: bytes, path: bytes, authority: bytes, headers: Headers, version: bytes = b"HTTP/1.1"
    ) -> None:
        self.method = method
        self.path = path
        self.authority = authority
        self.headers = headers
        self.version = version
        self.scheme = b"http"
        self.repeated = False

    def get(self, name: bytes) -> bytes | None:
        """Value of the first header called ``name`` (lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


class ResponseHead:
    """Status code, headers and version of one response.

    ``repeated``: many exchanges share this head, which differs among them in ``PER_EXCHANGE`` headers at most.
    """

    __slots__ = ("headers", "repeated", "status", "version")

    def __init__(self, status: int, headers: Headers, version: bytes = b"HTTP/1.1") -> None:
        self.status = status
        self.headers = headers
        self.version = version
        self.repeated = False

    def get(self, name: bytes) -> bytes | None:
        """Value of the first header called ``name`` (lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


def set_header(headers: Headers, name: bytes, value: bytes) -> None:
    """Give the only ``name`` the value; where there was one already it keeps its place, as in Envoy."""
    for index, (present, _) in enumerate(headers):
        if present == name:
            headers[index:] = [(name, value), *(field for field in headers[index + 1 :] if field[0] != name)]
            return
    headers.append((name, value))
