"""HTTP client of the configuration API."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any

from isthmus_controlplane.errors import ControlPlaneError

TIMEOUT_S = 30.0  # longer than the control plane waits for its stores


class UnreachableError(ControlPlaneError):
    """The control plane does not answer."""


class ApiError(ControlPlaneError):
    """The control plane refused; ``problems`` says why, each with origin, path and message. ``status`` is HTTP's."""

    def __init__(self, message: str, problems: list[dict[str, str]], status: int = 0) -> None:
        super().__init__(message)
        self.problems = problems
        self.status = status


class Client:
    """Talks to one control plane, or to another program with such an interface."""

    def __init__(self, server: str, what: str = "control plane", option: str = "--server") -> None:
        """Prepare.

        Args:
            server: ``http://HOST:PORT`` of its admin endpoints.
            what: what answers there, for messages.
            option: the option that names it, for messages.

        Raises:
            UnreachableError: it is no such URL.
        """
        if not _is_http_url(server):
            raise UnreachableError(f"{option} {server}: is not of the form http://HOST:PORT")
        self._server = server.rstrip("/")
        self._what = what
        self._option = option
        # The control plane is near; a proxy from the environment is for what is far.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str, **query: str) -> Any:
        """GET a JSON value."""
        return self._call("GET", f"{path}?{urllib.parse.urlencode(query)}" if query else path)

    def apply(self, texts: Mapping[str, str]) -> Any:
        """Apply YAML texts, by file name; all or none."""
        return self._call("POST", "/v1/objects", json.dumps({"files": dict(texts)}).encode())

    def analyze(self, texts: Mapping[str, str]) -> Any:
        """Say what an apply of these texts would be refused for."""
        return self._call("POST", "/v1/analyze", json.dumps({"files": dict(texts)}).encode())

    def wait(self, seconds: float) -> Any:
        """Wait until everything that was applied is acknowledged."""
        return self._call("GET", f"/v1/wait?timeout={seconds}", within=seconds + TIMEOUT_S)

    def explain(self, client: str, host: str, path: str, method: str, headers: Iterable[str]) -> Any:
        """Say what a request of a client meets."""
        query = [("client", client), ("host", host), ("path", path), ("method", method)]
        query += [("header", each) for each in headers]
        return self._call("GET", f"/v1/explain?{urllib.parse.urlencode(query)}")

    def delete(self, kind: str, namespace: str, name: str) -> Any:
        """Delete one object."""
        return self._call(
            "DELETE", "/v1/objects/" + "/".join(urllib.parse.quote(part, safe="") for part in (kind, namespace, name))
        )

    def _call(self, method: str, path: str, body: bytes | None = None, within: float = TIMEOUT_S) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            f"{self._server}{path}", data=body, method=method, headers={"content-type": "application/json"}
        )
        try:
            with self._opener.open(request, timeout=within) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise _api_error(error) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            text = f"cannot reach the {self._what} at {self._server}: {reason}; is it running? {self._option} names another"
            raise UnreachableError(text) from error


def _is_http_url(text: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _api_error(error: urllib.error.HTTPError) -> ApiError:
    with error:
        try:
            answer = json.load(error)
            return ApiError(str(answer["error"]), list(answer.get("problems", [])), error.code)
        except (ValueError, KeyError, TypeError):
            text = f"status {error.code} without explanation; is this the address of a control plane?"
            return ApiError(text, [], error.code)
