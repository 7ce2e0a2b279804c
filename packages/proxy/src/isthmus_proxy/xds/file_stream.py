"""Resources of one type from a file (path_config_source): taken when it is another file, or has another content, than before.

The file is looked at once a second, which follows renames and links alike. One that cannot be read is counted and logged, and what was
taken before stays; of one that can, what is refused is named, and the rest goes into service.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import trio
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from google.protobuf.message import Message

from isthmus_proxy.config import documents
from isthmus_proxy.config.parse import fill, shown
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.xds.apply import Discovery
from isthmus_proxy.xds.resources import SHORT_NAMES, empty
from isthmus_proxy.xds.session import Session
from isthmus_proxy.xds.stream import Observer

_log = logging.getLogger(__name__)

INTERVAL_S = 1.0


class FileStream:
    """See the module. It stands where an ``XdsStream`` stands, and answers whatever is asked with the file."""

    up = False
    """Nothing is to be sent."""

    def __init__(self, discovery: Discovery, session: Session, path: str, observer: Observer, type_url: str) -> None:
        self.session = session
        self._discovery = discovery
        self._path = path
        self._observer = observer
        self._type_url = type_url
        self._seen: tuple[int, int, int] | None = None

    async def run(self) -> None:
        """Follow the file until cancelled."""
        self._discovery.connected(self.session)
        while True:
            self.look()
            await trio.sleep(INTERVAL_S)

    def look(self) -> None:
        """Take the file into service if it changed, or something more of it is wanted."""
        wanted = self._discovery.take_requests(self.session)
        state = _state(self._path)
        if state is None or (state == self._seen and not wanted):
            return
        self._seen = state
        try:
            response = _read(self._path, self._type_url)
        except ConfigError as error:
            self._discovery.count_failure(self.session)
            _log.warning("%s cannot be read; what came before stays: %s", SHORT_NAMES[self._type_url], error)
            return
        self._take(response)

    async def flush(self) -> None:
        """See XdsStream: there is nobody to send to."""

    def _take(self, response: DiscoveryResponse) -> None:
        kind = SHORT_NAMES[self._type_url]
        if not self._discovery.receive(response, self.session):
            errors = self.session.rejected(self._type_url)
            reasons = "; ".join(f"{name}: {rejected.reason}" for name, rejected in sorted(errors.items()))
            _log.warning("%s of %s rejected in part: %s", kind, self._path, reasons or "unreadable resources")
        self._discovery.take_requests(self.session)  # its answer, for which nobody waits
        self._observer.updated()


def _state(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - once a second: no object for it
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _message(resource: object, type_url: str, path: str) -> Message:
    kind = resource.get("@type") if isinstance(resource, dict) else None
    if not isinstance(resource, dict) or kind != type_url:
        raise ConfigError(f"{path}.@type", shown(kind), f"must be {type_url}")
    message = empty(type_url)
    fill(message, {name: value for name, value in resource.items() if name != "@type"}, path)
    return message


def _read(path: str, type_url: str) -> DiscoveryResponse:
    response = DiscoveryResponse()
    try:
        document = documents.read(Path(path))
        resources = document.pop("resources", [])
        fill(response, document)
        for index, each in enumerate(resources if isinstance(resources, list) else [resources]):
            response.resources.add().Pack(_message(each, type_url, f"resources[{index}]"))
    except ConfigError as error:
        error.origin = path
        raise
    response.type_url = type_url
    return response
