"""One HTTP request at a time, for admin ports and checks; load comes from :mod:`harness.load`."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Response:
    """A response with its headers in order, names in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


def fetch(
    address: str,
    path: str = "/",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout: float = 10,
) -> Response:
    """One request to ``host:port`` over a connection of its own; raises OSError when there is no valid answer."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        received = response.read()
        return Response(response.status, tuple((k.lower(), v) for k, v in response.getheaders()), received)
    except http.client.HTTPException as error:
        raise OSError(f"no valid HTTP answer from {address}{path}: {error!r}") from error
    finally:
        connection.close()
