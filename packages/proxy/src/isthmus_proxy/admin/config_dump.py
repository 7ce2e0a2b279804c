"""``/config_dump``: what the proxy runs with, in the shape of Envoy's admin messages, secrets redacted.

Written resource by resource, so that a mesh of thousands of clusters neither fills memory nor holds up traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message

from isthmus_proxy.admin.dump_selection import Field, Section, Selection, SelectionError, written
from isthmus_proxy.admin.response import JSON, AdminRequest, AdminResponse, Endpoint, text


@dataclass(frozen=True, slots=True)
class DynamicResource:
    """A resource that came over xDS. ``state`` is active or warming; a refused newer version has ``error``."""

    name: str
    version: str
    message: Message | None
    updated_at: float
    state: str = "active"
    error: str = ""
    error_at: float = 0.0
    failed_version: str = ""


@dataclass(frozen=True, slots=True)
class DumpSource:
    """Where the dump reads: messages of the bootstrap, and what xDS brought, by kind. Called when asked for."""

    started_at: float
    bootstrap: Callable[[], Message]
    static_clusters: Callable[[], Iterable[Message]]
    static_listeners: Callable[[], Iterable[Message]]
    static_routes: Callable[[], Iterable[Message]]
    dynamic: Callable[[str], Iterable[DynamicResource]]
    version: Callable[[str], str]
    static_scopes: Callable[[], Iterable[tuple[str, Iterable[Message]]]] = tuple
    scope_names: Callable[[], Sequence[str]] = tuple


def endpoints(source: DumpSource) -> tuple[Endpoint, ...]:
    """The endpoint."""

    def respond(request: AdminRequest) -> AdminResponse:
        query = request.query
        try:
            wanted = Selection.of(query.get("resource", ""), query.get("mask", ""), query.get("name_regex", ""))
            sections = list(wanted.sections(_sections(source, include_eds=request.flag("include_eds"))))
        except SelectionError as error:
            return text(error.message, error.status)
        return AdminResponse(200, _written(sections), JSON)

    return (Endpoint("/config_dump", "dump current configs", respond, parameters=_PARAMETERS),)


_PARAMETERS = (
    ("resource", "Dump only this repeated field (static_clusters, dynamic_listeners, ...)"),
    ("mask", "Fields to show, separated by commas: of each element with resource, of each message without"),
    ("name_regex", "Dump only resources whose whole name matches"),
    ("include_eds", "Dump currently loaded configuration including EDS"),
)


def _sections(source: DumpSource, *, include_eds: bool) -> Iterator[Section]:
    updated = timestamp(source.started_at)
    # The file may be large: it is read only when it is written.
    bootstrap = Section(
        "BootstrapConfigDump", {"bootstrap": lambda: plain(source.bootstrap()), "last_updated": updated}
    )
    yield bootstrap
    yield Section("ClustersConfigDump", _clusters(source, updated))
    if include_eds:
        yield Section("EndpointsConfigDump", {"dynamic_endpoint_configs": _each(source, "eds", "endpoint_config")})
    extensions = list(_each(source, "ecds", "ecds_filter"))
    if extensions:
        yield Section("EcdsConfigDump", {"ecds_filters": extensions})
    yield Section("ListenersConfigDump", _listeners(source, updated))
    yield Section("ScopedRoutesConfigDump", _scopes(source, updated))
    yield Section("RoutesConfigDump", _routes(source, updated))
    yield Section("SecretsConfigDump", {})


def _written(sections: Iterable[Section]) -> Iterator[str]:
    """The whole answer, in pieces."""
    opening = '{"configs": [\n'
    for section in sections:
        for piece in written(section):
            yield opening + piece
            opening = ""
        opening = opening or ",\n"
    yield "{}\n" if opening.startswith("{") else "\n]}\n"


_Entries = Iterable[dict[str, Any]]


def _clusters(source: DumpSource, updated: str) -> dict[str, Field]:
    return {
        "version_info": source.version("cds"),
        "static_clusters": ({"cluster": typed(each), "last_updated": updated} for each in source.static_clusters()),
        "dynamic_active_clusters": _each(source, "cds", "cluster", "active"),
        "dynamic_warming_clusters": _each(source, "cds", "cluster", "warming"),
    }


def _listeners(source: DumpSource, updated: str) -> dict[str, Field]:
    return {
        "version_info": source.version("lds"),
        "static_listeners": ({"listener": typed(each), "last_updated": updated} for each in source.static_listeners()),
        "dynamic_listeners": (_dynamic_listener(resource) for resource in source.dynamic("lds")),
    }


def _dynamic_listener(resource: DynamicResource) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": resource.name}
    if resource.message is not None:
        entry[f"{resource.state}_state"] = {
            "version_info": resource.version,
            "listener": typed(resource.message),
            "last_updated": timestamp(resource.updated_at),
        }
    return entry | _error_state(resource)


def _routes(source: DumpSource, updated: str) -> dict[str, Field]:
    return {
        "static_route_configs": (
            {"route_config": typed(each), "last_updated": updated} for each in source.static_routes()
        ),
        "dynamic_route_configs": _each(source, "rds", "route_config"),
    }


def _scopes(source: DumpSource, updated: str) -> dict[str, Field]:
    return {
        "inline_scoped_route_configs": (
            {"name": name, "scoped_route_configs": [typed(each) for each in scopes], "last_updated": updated}
            for name, scopes in source.static_scopes()
        ),
        "dynamic_scoped_route_configs": _dynamic_scopes(source),
    }


def _dynamic_scopes(source: DumpSource) -> _Entries:
    """All scopes, once for each name under which connection managers take them."""
    names = source.scope_names()
    resources = list(source.dynamic("srds")) if names else []
    for name in names:
        entry: dict[str, Any] = {"name": name, "version_info": source.version("srds")}
        entry["scoped_route_configs"] = [typed(each.message) for each in resources if each.message is not None]
        entry["last_updated"] = timestamp(max((each.updated_at for each in resources), default=0.0))
        refused = [each for each in resources if each.error]
        yield entry | (_error_state(refused[0]) if refused else {})


def _each(source: DumpSource, kind: str, key: str, state: str | None = None) -> _Entries:
    for resource in source.dynamic(kind):
        if state is not None and resource.state != state:
            continue
        entry: dict[str, Any] = {}
        if resource.message is not None:
            entry["version_info"] = resource.version
            entry[key] = typed(resource.message)
            entry["last_updated"] = timestamp(resource.updated_at)
        yield entry | _error_state(resource)


def _error_state(resource: DynamicResource) -> dict[str, object]:
    if not resource.error:
        return {}
    state = {
        "details": f"{resource.name}: {resource.error}",
        "last_update_attempt": timestamp(resource.error_at),
        "version_info": resource.failed_version,
    }
    return {"error_state": state, "client_status": "NACKED"}


def inline_routes(listeners: Iterable[Message]) -> Iterator[Message]:
    """The route configurations that stand inside the connection managers of ``listeners``."""
    return (manager.route_config for manager in _managers(listeners) if manager.HasField("route_config"))


def _managers(listeners: Iterable[Message]) -> Iterator[Any]:
    from isthmus_proxy.config.extensions import unpack  # noqa: PLC0415 - only a dump needs it

    each: Any
    for each in listeners:
        for chain in each.filter_chains:
            for network_filter in chain.filters:
                manager: Any = unpack(network_filter.typed_config, "typed_config")
                if "route_config" in manager.DESCRIPTOR.fields_by_name:
                    yield manager


def inline_scopes(listeners: Iterable[Message]) -> Iterator[tuple[str, Iterable[Message]]]:
    """The scopes that stand inside the connection managers of ``listeners``, with the names of their scoped_routes."""
    for manager in _managers(listeners):
        scoped = manager.scoped_routes
        if scoped.HasField("scoped_route_configurations_list"):
            yield scoped.name, scoped.scoped_route_configurations_list.scoped_route_configurations


def timestamp(seconds: float) -> str:
    """Seconds since the epoch in RFC 3339, as protobuf's JSON mapping writes a Timestamp."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def typed(message: Message) -> dict[str, Any]:
    """A message as it stands in an Any."""
    return {"@type": f"type.googleapis.com/{message.DESCRIPTOR.full_name}", **plain(message)}


def plain(message: Message) -> dict[str, Any]:
    """A message as plain values under its proto names, secrets redacted."""
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 - only a dump needs it

    from isthmus_proxy.admin.redact import redacted  # noqa: PLC0415 - as above

    return MessageToDict(redacted(message), preserving_proto_field_name=True)
