"""An HTTP filter whose configuration comes over xDS (``config_discovery``): the newest of its name serves, from the next request on.

Without one the default serves, and without a default every request that gets here is answered 500, as in Envoy.
"""

from __future__ import annotations

from typing import Any, ClassVar

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.stream_filter import (
    STOP,
    FilterCallbacks,
    FilterConfig,
    FilterContext,
    FilterFactory,
    RequestFilter,
)
from isthmus_proxy.http.local_reply import LocalReply
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.listener.model import DiscoveredFilterConfig, Extension

MISSING = LocalReply(500, "", flags=("NFCF",))


class ExtensionHandle:
    """The newest configuration of one name, and the filters that it is for."""

    __slots__ = ("extension", "filters", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.extension: Extension | None = None
        self.filters: list[DiscoveredFilter] = []

    def replace(self, extension: Extension | None) -> None:
        """Let ``extension`` serve, or what there is without any. Raises ConfigError and changes nothing where a filter cannot be made."""
        before, self.extension = self.extension, extension
        try:
            for each in list(self.filters):
                each.renew()
        except ConfigError:
            self.extension = before
            for each in list(self.filters):
                each.renew()
            raise


class ExtensionHandles:
    """Handles by name: connection managers take them, updates fill them, in either order."""

    __slots__ = ("_handles",)

    def __init__(self) -> None:
        self._handles: dict[str, ExtensionHandle] = {}

    def get_or_create(self, name: str) -> ExtensionHandle:
        """The handle of ``name``."""
        handle = self._handles.get(name)
        if handle is None:
            handle = self._handles[name] = ExtensionHandle(name)
        return handle

    def make(self, config: DiscoveredFilterConfig, context: FilterContext) -> DiscoveredFilter:
        """The filter of a connection manager that follows a name."""
        return DiscoveredFilter(config, self.get_or_create(config.name), context)

    def current(self, name: str) -> Extension | None:
        """The newest configuration of ``name``."""
        handle = self._handles.get(name)
        return handle.extension if handle is not None else None

    def remove(self, name: str) -> None:
        """Forget a name that nothing asks for any more. Filters that still serve keep what they have."""
        self._handles.pop(name, None)


class DiscoveredFilter:
    """See ``FilterFactory``. Requests on their way keep the version with which they began."""

    __slots__ = ("_config", "_context", "_factory", "_handle", "_serving", "_version")

    def __init__(self, config: DiscoveredFilterConfig, handle: ExtensionHandle, context: FilterContext) -> None:
        self._config = config
        self._context = context
        self._handle = handle
        self._serving: FilterConfig | None = None
        self._factory: FilterFactory | None = None
        self._version: FilterContext | None = None
        handle.filters.append(self)
        context.own(self)
        self.renew()

    def renew(self) -> None:
        """Serve by the newest configuration. Raises ConfigError if no filter can be made of it, and goes on by the older one."""
        chosen = self._config.chosen(self._handle.extension)
        if chosen is self._serving:
            return
        version = self._context.part()
        factory = chosen.make(version) if chosen is not None else None
        before, self._version = self._version, version
        self._serving, self._factory = chosen, factory
        if before is not None:
            before.close()  # after the new one is there: what both count goes on

    def create(self, callbacks: FilterCallbacks, overrides: tuple[Any, ...]) -> RequestFilter | None:
        """The filter for one exchange."""
        factory = self._factory
        return MissingConfig(callbacks) if factory is None else factory.create(callbacks, overrides)

    def close(self) -> None:
        """The connection manager is no more."""
        self._handle.filters.remove(self)
        if self._version is not None:
            self._version.close()


class MissingConfig(RequestFilter):
    """Answers where no configuration came."""

    sees_responses: ClassVar[bool] = False

    __slots__ = ()

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        """Answer 500."""
        self.callbacks.send_local_reply(MISSING)
        return STOP
