"""Registries that speak JSON over HTTP: one request, one answer, every failure a RegistryFault."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from isthmus_mcp_bridge.registries.faults import RegistryFault

MAX_BODY_BYTES = 256 * 1024 * 1024
TIMEOUT_S = 15.0


class JsonHttp:
    """Servers of one registry, tried in turn: one that fails is left for the next one at the next request."""

    def __init__(self, servers: Sequence[str], headers: Mapping[str, str] | None = None) -> None:
        """``servers`` are base URLs without a slash at the end."""
        self._servers = list(servers)
        self._headers = dict(headers or {})
        self._session: aiohttp.ClientSession | None = None

    async def get(
        self, path: str, query: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S
    ) -> tuple[Any, Mapping[str, str]]:
        """The answer and its headers. Raises RegistryFault."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector, headers=self._headers, auto_decompress=True, trust_env=False
            )
        url = self._servers[0] + path
        try:
            timeout = aiohttp.ClientTimeout(total=timeout_s)
            async with self._session.get(url, params=dict(query or {}), timeout=timeout) as answer:
                body = await answer.content.read(MAX_BODY_BYTES + 1)
                while len(body) <= MAX_BODY_BYTES and (more := await answer.content.read(MAX_BODY_BYTES)):
                    body += more
                if answer.status != 200:
                    self._next()
                    text = body[:200].decode(errors="replace").strip()
                    raise RegistryFault(f"{url}: answers {answer.status} {text}")
                if len(body) > MAX_BODY_BYTES:
                    raise RegistryFault(f"{url}: answers more than {MAX_BODY_BYTES} bytes")
                return json.loads(body), answer.headers
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._next()
            raise RegistryFault(f"{url}: no answer ({type(error).__name__} {error})".replace(" )", ")")) from error
        except ValueError as error:
            raise RegistryFault(f"{url}: the answer is not JSON") from error

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _next(self) -> None:
        self._servers.append(self._servers.pop(0))
