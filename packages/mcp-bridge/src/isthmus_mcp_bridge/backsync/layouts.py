"""How a legacy registry names an entry: Dubbo's interface-level layout and SOFARPC's, both URLs below an interface. Pure.

Reading and writing are one another's inverse: what is read from an entry that a bridge wrote is written again as the same entry.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from urllib.parse import quote_plus, unquote_plus

from isthmus_mcp_bridge.backsync.entry import SeenEntry
from isthmus_mcp_bridge.backsync.marks import PREFIX, Marks, read_marks
from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.registration.model import SdkService
from isthmus_mcp_bridge.registries.dubbo.dubbo_url import DubboUrl, NodeError, parse_node_name

ZONE = f"{PREFIX}zone"
_BOLT_NAMES = {"serializeType": "serialization"}


@dataclasses.dataclass(frozen=True, slots=True)
class Description:
    """What an entry says of its instance besides where it is."""

    application: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    zone: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """One layout. ``protocols`` are the schemes that its consumers understand; ``data`` is what a node holds."""

    name: str
    protocols: frozenset[str]
    data: bytes
    _fixed: Callable[[SdkService, str], dict[str, str]]
    _service: Callable[[DubboUrl, str], SdkService]
    _stated: frozenset[str] = frozenset()
    """Parameters that stand in the URL even if they are empty."""

    def url(self, service: SdkService, address: Address, about: Description, marks: Marks | None = None) -> DubboUrl:
        """The entry's URL."""
        fixed = self._fixed(service, about.application)
        found = {key: value for key, value in fixed.items() if value or key in self._stated}
        for key, value in about.metadata:
            renamed = _BOLT_NAMES.get(key, key)
            if renamed not in fixed and not renamed.startswith(PREFIX):
                found.setdefault(renamed, value)
        if about.zone:
            found[ZONE] = about.zone
        if marks is not None:
            found |= marks.parameters()
        return DubboUrl(service.protocol, address.host, address.port, service.interface, dict(sorted(found.items())))

    def describe(self, url: DubboUrl, interface: str) -> Description:
        """What an entry's URL says of its instance."""
        fixed = self._fixed(self._service(url, interface), "")
        metadata = tuple(
            (key, value)
            for key, value in sorted(url.parameters.items())
            if key not in fixed and not key.startswith(PREFIX) and value
        )
        application = url.get("application") or url.get("appName")
        return Description(application, metadata, url.get(ZONE))

    def service(self, url: DubboUrl, interface: str) -> SdkService:
        """The service of an entry."""
        return self._service(url, interface)

    def read(self, name: str, interface: str) -> SeenEntry | None:
        """An entry by its name; None for what is no URL with an address."""
        try:
            url = parse_node_name(name)
        except NodeError:
            return None
        address = Address(url.host, url.port)
        return SeenEntry(name, self._service(url, interface), address, read_marks(url.parameters))


def entry_name(url: DubboUrl) -> str:
    """The URL as a node's name, encoded as SDKs do."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    query = "&".join(f"{key}={value}" for key, value in url.parameters.items())
    return quote_plus(f"{url.scheme}://{host}:{url.port}/{url.path}?{query}")


def folder(root: str, interface: str) -> str:
    """The path below which the entries of an interface stand."""
    return f"{root.rstrip('/')}/{quote_plus(interface)}/providers"


def interface_of(path: str) -> str:
    """The interface of such a path."""
    return unquote_plus(path.rsplit("/", 2)[-2])


def _dubbo_fixed(service: SdkService, application: str) -> dict[str, str]:
    return {
        "application": application,
        "category": "providers",
        "dubbo": "2.0.2",
        "dynamic": "true",
        "group": service.group,
        "interface": service.interface,
        "side": "provider",
        "version": service.version,
    }


def _dubbo_service(url: DubboUrl, interface: str) -> SdkService:
    return SdkService(url.scheme, interface, url.get("group"), url.get("version"))


def _sofa_fixed(service: SdkService, application: str) -> dict[str, str]:
    return {
        "appName": application,
        "dynamic": "true",
        "interface": service.interface,
        "protocol": service.protocol,
        "uniqueId": service.group,
        "version": service.version,
    }


def _sofa_service(url: DubboUrl, interface: str) -> SdkService:
    return SdkService(url.scheme, interface, url.get("uniqueId"), url.get("version", "1.0"))


DUBBO = Layout("dubbo", frozenset({"dubbo", "tri", "grpc", "http", "https", "rest"}), b"", _dubbo_fixed, _dubbo_service)
SOFARPC = Layout(
    "sofarpc",
    frozenset({"bolt"}),
    b"\x01",
    _sofa_fixed,
    _sofa_service,
    # A consumer without uniqueId compares its empty one with what stands there, and passes over an address that says nothing.
    frozenset({"uniqueId"}),
)
LAYOUTS: Mapping[str, Layout] = {one.name: one for one in (DUBBO, SOFARPC)}
