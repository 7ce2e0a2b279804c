from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from isthmus_proxy.config.bootstrap import load
from isthmus_proxy.config.dynamic import DynamicResources
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import HttpConnectionManagerConfig, RdsReference, SocketAddress, TcpProxyConfig
from isthmus_proxy.route.model import DirectResponseAction, ForwardAction, RedirectAction
from isthmus_proxy.xds.source import ApiSource, ManagementServer

EXAMPLES = Path(__file__).parents[2] / "examples"
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def example(name: str) -> Any:
    return yaml.safe_load((EXAMPLES / name).read_text())


def loaded(tmp_path: Path, document: Any) -> Any:
    path = tmp_path / "envoy.json"
    path.write_text(json.dumps(document))
    return load(path)


def refused(tmp_path: Path, document: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, document)
    assert str(caught.value).startswith(f"{tmp_path}/envoy.json: ")
    return str(caught.value).removeprefix(f"{tmp_path}/envoy.json: ")


def test_the_static_example() -> None:
    bootstrap = load(EXAMPLES / "static.yaml")
    assert bootstrap.admin == SocketAddress("127.0.0.1", 9901)
    assert bootstrap.dynamic_resources is None
    assert [(cluster.name, cluster.discovery) for cluster in bootstrap.clusters] == [
        ("first", "STATIC"),
        ("second", "STRICT_DNS"),
    ]
    (listener,) = bootstrap.listeners
    manager = listener.filter_chains[0].network_filter
    assert isinstance(manager, HttpConnectionManagerConfig)
    assert str(listener.address) == "127.0.0.1:10000"
    assert manager.access_logs[0].path == "/dev/stdout"
    moved, web = manager.route.virtual_hosts  # type: ignore[union-attr]
    assert isinstance(moved.routes[0].action, RedirectAction)
    health, _, split, api, _ = web.routes
    assert health.action == DirectResponseAction(200, b"ok\n")
    assert isinstance(split.action, ForwardAction)
    assert [(each.cluster, each.weight) for each in split.action.clusters] == [("first", 90), ("second", 10)]
    assert isinstance(api.action, ForwardAction)
    assert api.action.retry_policy is not None
    assert (api.action.timeout, api.action.prefix_rewrite, api.action.retry_policy.num_retries) == (5.0, b"/", 2)


@pytest.mark.parametrize(("name", "delta"), [("ads.yaml", True), ("ads-sotw.yaml", False)])
def test_the_dynamic_examples(name: str, delta: bool) -> None:
    bootstrap = load(EXAMPLES / name)
    dynamic = bootstrap.dynamic_resources
    assert dynamic is not None
    assert dynamic.ads is not None
    assert ([each.cluster_name for each in dynamic.ads.servers], dynamic.ads.delta, dynamic.cds, dynamic.lds) == (
        ["xds"],
        delta,
        True,
        True,
    )
    assert bootstrap.clusters[0].http2
    assert bootstrap.node.id.startswith("sidecar~")


def test_the_tcp_example() -> None:
    (listener,) = load(EXAMPLES / "tcp.yaml").listeners
    proxy = listener.filter_chains[0].network_filter
    assert isinstance(proxy, TcpProxyConfig)
    assert (proxy.clusters[0].cluster, proxy.idle_timeout) == ("databases", 600.0)
    assert proxy.access_logs[0].json_format is not None


def test_yaml_and_json_compile_alike(tmp_path: Path) -> None:
    from_yaml, from_json = load(EXAMPLES / "static.yaml"), loaded(tmp_path, example("static.yaml"))
    assert from_json.proto == from_yaml.proto
    assert from_json.listeners[0].content == from_yaml.listeners[0].content


def test_an_empty_bootstrap_is_one(tmp_path: Path) -> None:
    bootstrap = loaded(tmp_path, {})
    assert (bootstrap.listeners, bootstrap.clusters, bootstrap.admin) == ((), (), None)


def edited(name: str, *steps: object, to: object) -> Any:
    """The example with the field at ``steps`` set to ``to``."""
    document = example(name)
    place = document
    for step in steps[:-1]:
        place = place[step]
    place[steps[-1]] = to
    return document


LISTENER = ("static_resources", "listeners", 0)
MANAGER = (*LISTENER, "filter_chains", 0, "filters", 0, "typed_config")
ROUTE = (*MANAGER, "route_config", "virtual_hosts", 1, "routes", 4)
CLUSTER = ("static_resources", "clusters", 0)
PRESERVE = {
    "@type": "type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
}


@pytest.mark.parametrize(
    ("steps", "value", "path", "reason"),
    [
        (("hds_config",), {}, "hds_config", "is not supported"),
        (("stats_sinks",), [{"name": "x"}], "stats_sinks[0].typed_config", ""),
        ((*LISTENER, "enable_mptcp"), True, "listeners[0].enable_mptcp", "ignoring it would change behaviour"),
        ((*LISTENER, "address"), {"pipe": {"path": "x" * 108}}, "listeners[0].address.pipe.path", "at most 107"),
        ((*LISTENER, "filter_chains"), [], "listeners[0].filter_chains", "at least one"),
        ((*LISTENER, "filter_chain_matcher"), {}, "listeners[0].filter_chain_matcher", "is not supported"),
        ((*MANAGER, "via"), "a\n", "typed_config.via", "printable ASCII"),
        ((*MANAGER, "tracing"), {}, "typed_config.tracing.provider", "is required"),
        ((*MANAGER, "codec_type"), "HTTP3", 'typed_config.codec_type = "HTTP3"', "only AUTO or HTTP1 or HTTP2 is"),
        ((*MANAGER, "stat_prefix"), "", "typed_config.stat_prefix", "required"),
        ((*MANAGER, "max_request_headers_kb"), 9000, "max_request_headers_kb = 9000", "at most 8192"),
        ((*MANAGER, "http_filters"), [], "http_filters", "must be the router"),
        ((*ROUTE, "route", "cluster"), "typo", '.routes[4].route = "typo"', "validate_clusters"),
        ((*ROUTE, "route", "cluster_specifier_plugin"), "x", "routes[4].route.cluster", "only one of"),
        ((*ROUTE, "typed_per_filter_config"), {}, None, ""),
        ((*ROUTE, "match"), {"connect_matcher": {}}, None, ""),
        (
            (*MANAGER, "http_protocol_options"),
            {
                "header_key_format": {
                    "stateful_formatter": {"name": "p", "typed_config": {**PRESERVE, "forward_reason_phrase": True}}
                }
            },
            "header_key_format.stateful_formatter.typed_config.forward_reason_phrase",
            "is not supported",
        ),
        ((*MANAGER, "http_protocol_options"), {"header_key_format": {}}, "header_key_format", "needs one of"),
        (
            (*MANAGER, "http_protocol_options"),
            {"header_key_format": {"stateful_formatter": {"name": "p", "typed_config": PRESERVE}}},
            None,
            "",
        ),
        (
            (*ROUTE, "route", "upgrade_configs"),
            [{"upgrade_type": "websocket", "connect_config": {}}],
            "upgrade_configs[0].connect_config",
            "CONNECT only",
        ),
        (
            (*ROUTE, "route", "upgrade_configs"),
            [{"upgrade_type": "a"}, {"upgrade_type": "A"}],
            "upgrade_configs[1].upgrade_type",
            "twice",
        ),
        ((*ROUTE, "route", "upgrade_configs"), [{"upgrade_type": "CONNECT-UDP"}], "upgrade_type", "UDP"),
        (
            (*ROUTE, "route", "upgrade_configs"),
            [{"upgrade_type": "CONNECT", "connect_config": {"allow_post": True}}],
            "connect_config.allow_post",
            "is not supported",
        ),
        (
            (*CLUSTER, "lb_policy"),
            "CLUSTER_PROVIDED",
            'clusters[0].lb_policy = "CLUSTER_PROVIDED"',
            "is for ORIGINAL_DST clusters only",
        ),
        ((*CLUSTER, "health_checks"), [{}], "clusters[0].health_checks[0].timeout", "is missing"),
        ((*CLUSTER, "name"), "", "clusters[0].name", "required"),
        ((*CLUSTER, "name"), "second", 'clusters[1].name = "second"', "used twice"),
        ((*CLUSTER, "connect_timeout"), "0s", "clusters[0].connect_timeout", "more than zero"),
        (
            (*CLUSTER, "http2_protocol_options"),
            {"allow_metadata": True},
            "clusters[0].http2_protocol_options.allow_metadata",
            "",
        ),
        (
            ("layered_runtime",),
            {"layers": [{"name": "s", "static_layer": {"overload.x": 1}}]},
            "layered_runtime.layers[0].static_layer.overload.x",
            "run-time keys",
        ),
        (("dynamic_resources",), {"cds_config": {"ads": {}}}, "dynamic_resources.ads_config", "required"),
    ],
)
def test_what_cannot_be_served_is_refused_by_path(
    tmp_path: Path, steps: tuple[object, ...], value: object, path: str | None, reason: str
) -> None:
    document = edited("static.yaml", *steps, to=value)
    if path is None:
        loaded(tmp_path, document)
        return
    message = refused(tmp_path, document)
    assert path in message
    assert reason in message


def test_a_nameless_endpoint_address_is_refused(tmp_path: Path) -> None:
    document = example("static.yaml")
    endpoint = document["static_resources"]["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]
    endpoint["endpoint"]["address"]["socket_address"]["address"] = "localhost"
    message = refused(tmp_path, document)
    assert 'lb_endpoints[0].endpoint.address.socket_address.address = "localhost"' in message
    assert "STRICT_DNS" in message


def test_settings_without_effect_are_accepted(tmp_path: Path) -> None:
    document = example("static.yaml")
    document |= {
        "stats_flush_interval": "60s",
        "layered_runtime": {"layers": [{"name": "a", "admin_layer": {}}, {"name": "s", "static_layer": {"re2.x": 1}}]},
    }
    document["static_resources"]["clusters"][1] |= {"dns_jitter": "1s", "respect_dns_ttl": True}
    document["static_resources"]["clusters"][1]["typed_dns_resolver_config"] = {
        "name": "envoy.network.dns_resolver.getaddrinfo",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig"
        },
    }
    loaded(tmp_path, document)


@pytest.mark.parametrize(
    ("steps", "value", "path"),
    [
        (("node",), {"id": "x"}, "node.cluster"),
        (("dynamic_resources", "ads_config", "api_type"), "REST", "dynamic_resources.ads_config.api_type"),
        (("dynamic_resources", "ads_config", "grpc_services"), [], "grpc_services = 0 services"),
        (
            ("dynamic_resources", "ads_config", "grpc_services"),
            [{"envoy_grpc": {"cluster_name": "gone"}}],
            'envoy_grpc.cluster_name = "gone"',
        ),
        (
            ("dynamic_resources", "ads_config", "grpc_services"),
            [{"envoy_grpc": {"cluster_name": "xds"}}, {"envoy_grpc": {"cluster_name": "gone"}}],
            'grpc_services[1].envoy_grpc.cluster_name = "gone"',
        ),
        (
            ("dynamic_resources", "ads_config", "grpc_services"),
            [{"envoy_grpc": {"cluster_name": "xds"}}, {"envoy_grpc": {"cluster_name": ""}}],
            "grpc_services[1].envoy_grpc.cluster_name",
        ),
        (
            ("dynamic_resources", "ads_config", "grpc_services"),
            [{"google_grpc": {"target_uri": "x"}}],
            "grpc_services[0].google_grpc",
        ),
        (("dynamic_resources", "cds_config"), {"path": "/x"}, "dynamic_resources.cds_config.path"),
    ],
)
def test_dynamic_resources_are_checked(tmp_path: Path, steps: tuple[object, ...], value: object, path: str) -> None:
    assert path in refused(tmp_path, edited("ads.yaml", *steps, to=value))


def test_an_extension_type_inside_a_filter_is_named(tmp_path: Path) -> None:
    lua = {"name": "lua", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"}}
    message = refused(tmp_path, edited("static.yaml", *MANAGER, "http_filters", to=[lua]))
    assert "typed_config.http_filters[0].typed_config.@type = type.googleapis.com/envoy.extensions" in message
    assert "not supported" in message


def test_an_extension_in_the_wrong_place_is_named(tmp_path: Path) -> None:
    wrong = {"name": "hcm", "typed_config": {"@type": _HCM, "stat_prefix": "x"}}
    message = refused(tmp_path, edited("static.yaml", *MANAGER, "http_filters", to=[wrong]))
    assert "http_filters[0].typed_config" in message
    assert "only envoy.extensions.filters.http.router.v3.Router" in message


def with_back_off(**fields: str) -> Any:
    service = {"envoy_grpc": {"cluster_name": "xds", "retry_policy": {"retry_back_off": fields}}}
    document = example("ads.yaml")
    document["dynamic_resources"]["ads_config"]["grpc_services"] = [service]
    name = next(each["name"] for each in document["static_resources"]["clusters"])
    service["envoy_grpc"]["cluster_name"] = name
    return document


@pytest.mark.parametrize(
    ("fields", "intervals"),
    [
        ({"base_interval": "0.2s", "max_interval": "2s"}, (0.2, 2.0)),
        ({"base_interval": "0.2s"}, (0.2, 2.0)),
        ({"base_interval": "0.001s", "max_interval": "0.001s"}, (0.001, 0.001)),
    ],
)
def test_pauses_between_attempts_at_the_control_plane(
    tmp_path: Path, fields: dict[str, str], intervals: tuple[float, float]
) -> None:
    resources = loaded(tmp_path, with_back_off(**fields)).dynamic_resources
    (server,) = resources.ads.servers
    assert (server.retry_base_interval, server.retry_max_interval) == intervals


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"max_interval": "2s"}, "base_interval"),
        ({"base_interval": "0.0001s"}, "base_interval"),
        ({"base_interval": "2s", "max_interval": "1s"}, "max_interval"),
    ],
)
def test_pauses_that_cannot_be_are_refused(tmp_path: Path, fields: dict[str, str], reason: str) -> None:
    assert f"retry_back_off.{reason}" in refused(tmp_path, with_back_off(**fields))


def test_several_management_servers_are_kept_in_order_each_with_its_pauses(tmp_path: Path) -> None:
    document = with_back_off(base_interval="0.2s")
    services = document["dynamic_resources"]["ads_config"]["grpc_services"]
    services.append({"envoy_grpc": {"cluster_name": services[0]["envoy_grpc"]["cluster_name"]}})
    servers = loaded(tmp_path, document).dynamic_resources.ads.servers
    assert [(each.retry_base_interval, each.retry_max_interval) for each in servers] == [(0.2, 2.0), (0.5, 30.0)]


OWN = {
    "api_config_source": {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
    },
    "initial_fetch_timeout": "3s",
}


def own_source(**changes: Any) -> Any:
    return OWN | {"api_config_source": OWN["api_config_source"] | changes}  # type: ignore[operator]


def with_streams_of_their_own() -> Any:
    """ads.yaml without ADS: clusters and listeners by streams of their own, endpoints and routes of the bootstrap too."""
    document = example("ads.yaml")
    document["dynamic_resources"] = {"cds_config": OWN, "lds_config": OWN}
    document["static_resources"]["clusters"].append(
        {"name": "e", "type": "EDS", "connect_timeout": "1s", "eds_cluster_config": {"eds_config": OWN}}
    )
    static = example("static.yaml")["static_resources"]["listeners"][0]
    manager = static["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["route_config"]
    manager["rds"] = {"route_config_name": "r", "config_source": OWN}
    document["static_resources"]["listeners"] = [static]
    return document


def test_every_type_may_come_by_a_stream_of_its_own(tmp_path: Path) -> None:
    bootstrap = loaded(tmp_path, with_streams_of_their_own())
    own = ApiSource((ManagementServer("xds"),), delta=True, set_node_on_first_message_only=True)
    dynamic = bootstrap.dynamic_resources
    assert (dynamic.ads, dynamic.cds_source, dynamic.lds_source) == (None, own, own)
    assert (dynamic.cds_initial_fetch_timeout, dynamic.lds_initial_fetch_timeout) == (3.0, 3.0)
    assert bootstrap.clusters[-1].eds_source == own
    assert bootstrap.clusters[-1].eds_initial_fetch_timeout == 3.0
    assert bootstrap.listeners[0].filter_chains[0].network_filter.route == RdsReference("r", 3.0, own)


def test_streams_of_the_bootstraps_own_resources_need_no_dynamic_resources(tmp_path: Path) -> None:
    document = with_streams_of_their_own()
    del document["dynamic_resources"]
    assert loaded(tmp_path, document).dynamic_resources == DynamicResources()
    del document["node"]
    assert "node.id" in refused(tmp_path, document)


@pytest.mark.parametrize(
    ("place", "source", "path"),
    [
        ("cds_config", own_source(api_type="REST"), "dynamic_resources.cds_config.api_config_source.api_type"),
        (
            "lds_config",
            own_source(api_type="AGGREGATED_GRPC"),
            "dynamic_resources.lds_config.api_config_source.api_type",
        ),
        ("lds_config", own_source(grpc_services=[]), "lds_config.api_config_source.grpc_services = 0 services"),
        (
            "cds_config",
            own_source(grpc_services=[{"envoy_grpc": {"cluster_name": "gone"}}]),
            'cds_config.api_config_source.grpc_services[0].envoy_grpc.cluster_name = "gone"',
        ),
        (
            "cds_config",
            own_source(grpc_services=[{"envoy_grpc": {"cluster_name": "e"}}]),
            'cds_config.api_config_source.grpc_services[0].envoy_grpc.cluster_name = "e"',
        ),
        (
            "eds",
            own_source(grpc_services=[{"envoy_grpc": {"cluster_name": "gone"}}]),
            'eds_cluster_config.grpc_services[0].envoy_grpc.cluster_name = "gone"',
        ),
        ("eds", {"ads": {}}, "clusters[1].eds_cluster_config"),
        ("rds", {"ads": {}}, "listeners[0].rds"),
        ("cds_config", {"ads": {}}, "dynamic_resources.ads_config"),
        (
            "rds",
            {"path_config_source": {"path": "/x"}},
            'rds.config_source.path_config_source.path = "/x": there is no such file',
        ),
    ],
)
def test_streams_that_cannot_be_are_refused(tmp_path: Path, place: str, source: object, path: str) -> None:
    document = with_streams_of_their_own()
    static = document["static_resources"]
    if place == "eds":
        static["clusters"][1]["eds_cluster_config"]["eds_config"] = source
    elif place == "rds":
        static["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]["rds"]["config_source"] = source
    else:
        document["dynamic_resources"][place] = source
    assert path in refused(tmp_path, document)


def test_runtime_layers_come_by_the_aggregated_stream_only(tmp_path: Path) -> None:
    document = with_streams_of_their_own()
    layer = {"name": "l", "rtds_layer": {"name": "l", "rtds_config": {"ads": {}}}}
    document["layered_runtime"] = {"layers": [layer]}
    assert "rtds_layer.rtds_config" in refused(tmp_path, document)
    layer["rtds_layer"]["rtds_config"] = OWN  # type: ignore[index]
    assert "only ads is supported" in refused(tmp_path, document)


def load_stats(*servers: str) -> Any:
    document = example("static.yaml")
    services = [{"envoy_grpc": {"cluster_name": server}} for server in servers]
    config = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": services}
    document["cluster_manager"] = {"load_stats_config": config}
    return document


def test_loads_are_reported_to_one_static_cluster(tmp_path: Path) -> None:
    assert loaded(tmp_path, example("static.yaml")).load_stats is None
    assert loaded(tmp_path, load_stats("first")).load_stats == ManagementServer("first")
    place = "cluster_manager.load_stats_config.grpc_services"
    assert refused(tmp_path, load_stats("nowhere")).startswith(f'{place}[0].envoy_grpc.cluster_name = "nowhere": ')
    assert refused(tmp_path, load_stats("first", "second")).startswith(
        f"{place} = 2 services: loads are reported to one"
    )
    assert refused(tmp_path, load_stats()).startswith(place)


def test_the_local_cluster_has_to_exist(tmp_path: Path) -> None:
    document = {"cluster_manager": {"local_cluster_name": "proxies"}, "static_resources": {"clusters": [{"name": "c"}]}}
    file = tmp_path / "b.json"
    file.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=r"cluster_manager.local_cluster_name.*proxies.*is not among"):
        load(file)
    document["static_resources"]["clusters"].append({"name": "proxies"})  # type: ignore[index]
    file.write_text(json.dumps(document))
    assert load(file).local_cluster_name == "proxies"
