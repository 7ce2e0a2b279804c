"""Istio's kinds at work: our proxy and Envoy on one control plane answer the same requests alike."""

import contextlib
import functools
import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.collector import Collector
from harness.envoy import Envoy
from harness.eventually import eventually
from harness.http import Response, fetch
from harness.isthmus import ControlPlane, Proxy
from harness.origin import Origin
from harness.ports import free_port
from isthmus_controlplane.model.testing import document
from isthmus_proxy.tls.testing import Authority, Issued
from istio_objects import (
    CALLER,
    PROXIES,
    RATINGS,
    REVIEWS,
    Port,
    World,
    bearer,
    bootstrap,
    gateway,
    kubernetes,
    kubernetes_gateway,
    labelled,
    mutual_tls,
    originated,
    placed,
    policies,
    routes,
    service,
    sidecar,
    traced,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("kinds")
    ports = [{name: free_port() for name in PROXIES} for _ in range(9)]
    authority = Authority(directory / "ca")
    certificate = authority.issue("edge", "DNS:secure.example")
    with contextlib.ExitStack() as stack:
        reviews = stack.enter_context(Origin("reviews", "v1", directory / "reviews"))
        ratings = stack.enter_context(Origin("ratings", "v1", directory / "ratings"))
        secrets = directory / "secrets"
        identity = put_secrets(secrets, authority)
        spans = stack.enter_context(Collector())
        options = ["--secrets", str(secrets), "--tracing-provider", "spans=http://spans.shop:4318/v1/traces"]
        plane = ControlPlane("memory:", directory / "plane", options=options)
        stack.enter_context(plane)
        inbound, outbound, bytes_in, http_, https, tcp, mutual, plain, secure_ = ports
        world = World(
            plane,
            directory,
            inbound,
            outbound,
            bytes_in,
            http_,
            https,
            tcp,
            mutual,
            plain,
            secure_,
            authority,
            {},
            spans,
        )
        target, other = (int(origin.address.rpartition(":")[2]) for origin in (reviews, ratings))
        objects = [
            service(REVIEWS, 8080, "HTTP", target), service(RATINGS, 8080, "HTTP", other),
            service("bytes.shop", 7000, "TCP", target), service("spans.shop", 4318, "HTTP", spans.port),
            *traced(), *mutual_tls(world), *originated(world, identity), *policies(), *routes(),
            *(placed(host, {"here/b": target, "there/a": other}) for host in ("near.shop", "shared.shop")),
            labelled("ranked.shop", {target: {"istio": "ingress"}, other: {"istio": "ingress", "tier": "gold"}}),
            *kubernetes(target), *(each for name in PROXIES for each in kubernetes_gateway(name, world)),
            *(sidecar(name, world) for name in PROXIES),
            *(gateway(name, world, certificate.certificate, certificate.key) for name in PROXIES),
        ]  # fmt: skip
        apply(world, [json.loads(json.dumps(each).replace("127.0.0.1:9000", reviews.address)) for each in objects])
        admin = {}
        for name in PROXIES:
            labels = {"app": "reviews", "proxy": name}
            side = {
                "INTERCEPTION_MODE": "NONE",
                "LABELS": labels,
                "HTTP_PROXY_PORT": world.outbound[name],
                "TLS_SECRET": "caller",
            }
            own = {"gateway.networking.k8s.io/gateway-name": f"k8s-{name}"}
            edge = {"LABELS": {"istio": "ingress", "proxy": name} | own}
            for kind, metadata in (("sidecar", side), ("router", edge)):
                config = bootstrap(kind, f"{name}-{kind}", plane.grpc_address, metadata)
                folder = directory / f"{name}-{kind}"
                started: Proxy | Envoy = Proxy(config, folder) if name == "isthmus" else Envoy(config, folder)
                stack.enter_context(started)
                if kind == "sidecar":
                    admin[name] = functools.partial(clusters_of, started)
        world = world._replace(admin=admin)
        for name in PROXIES:
            for port in (
                world.inbound,
                world.outbound,
                world.bytes_in,
                world.http,
                world.https,
                world.tcp,
                world.mutual,
                world.plain,
                world.secure,
            ):
                eventually(functools.partial(listens, port[name]), what=f"{name} listens at {port[name]}")
        yield world


def put_secrets(folder: Path, authority: Authority) -> Issued:
    """Fill the folder of ``--secrets``: a server's certificate, and one with which callers name themselves (returned)."""
    folder.mkdir()
    server = authority.issue("shop", "DNS:secret.example")
    caller = authority.issue("caller", f"URI:{CALLER}")
    files = {"shop.crt": server.pem, "shop.key": server.key_pem, "caller.crt": caller.pem, "caller.key": caller.key_pem}
    for name, text in (*files.items(), ("caller.ca.crt", authority.root.pem)):
        (folder / name).write_text(text)
    return caller


def apply(world: World, objects: list[dict[str, Any]]) -> None:
    path = world.directory / "objects.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    world.plane.ctl("apply", "-f", path)


def clusters_of(proxy: Proxy | Envoy) -> str:
    return proxy.admin("/clusters").text


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def asked(ports: Port, path: str, **options: Any) -> dict[str, Response]:
    return {name: fetch(f"127.0.0.1:{ports[name]}", path, **options) for name in PROXIES}


def alike(answers: Mapping[str, Response]) -> Response:
    """The one answer of both proxies."""
    ours, theirs = (answers[name] for name in PROXIES)
    assert (ours.status, ours.body, ours.header("location")) == (theirs.status, theirs.body, theirs.header("location"))
    assert ours.header("www-authenticate") == theirs.header("www-authenticate")
    return ours


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/open", {}, 200),
        ("GET", "/open/more?x=/secret", {}, 200),
        ("POST", "/open", {}, 403),
        ("GET", "/closed", {}, 403),
        ("GET", "/files/7/public", {}, 200),
        ("GET", "/files/7/8/public", {}, 403),
        ("GET", "/open/../closed", {}, 403),
        ("GET", "/open/secret", {}, 403),
        ("GET", "/open/secret", {"host": "other.example"}, 200),
        ("GET", "/open/colored", {}, 403),
        ("GET", "/open/colored", {"x-color": "red"}, 403),
        ("GET", "/open/colored", {"x-color": "green"}, 200),
        ("POST", "/closed", {"x-pass": "yes"}, 200),
        ("POST", "/closed", {"x-pass": "no"}, 403),
        ("GET", "/closed", bearer(), 200),
        ("GET", "/admin", bearer(), 403),
        ("GET", "/admin", bearer(groups=["users", "admins"]), 200),
        ("GET", "/admin", bearer(groups="admin"), 200),
        ("GET", "/admin", bearer(groups="user"), 403),
        ("GET", "/a/secret", bearer(groups="admin"), 403),
        ("GET", "/open", bearer(secret=b"another secret of thirty-two bytes or more"), 401),
        ("GET", "/open", bearer(issuer="https://stranger.example"), 401),
        ("GET", "/open", bearer(exp=1000), 401),
        ("GET", "/open", {"authorization": "Bearer nonsense"}, 401),
        ("DELETE", "/closed", {"x-pass": "yes"}, 403),
    ],
)
def test_inbound_policies(world: World, method: str, path: str, headers: dict[str, str], status: int) -> None:
    given = {"host": REVIEWS} | headers
    assert alike(asked(world.inbound, path, method=method, headers=given)).status == status


def test_claims_reach_the_application(world: World) -> None:
    for answer in asked(world.inbound, "/echo", headers={"host": REVIEWS} | bearer(sub="me")).values():
        assert ["x-sub", "me"] in answer.json()["headers"]


def test_a_connection_is_judged_by_what_it_has(world: World) -> None:
    """Nothing is known of requests, so what denies some of them denies every connection."""
    for name in PROXIES:
        with pytest.raises(OSError, match=r".*"):
            fetch(f"127.0.0.1:{world.bytes_in[name]}", "/open", timeout=5)


def test_a_client_hears_of_what_its_sidecar_lists(world: World) -> None:
    assert alike(asked(world.outbound, "/echo-less", headers={"host": REVIEWS})).status == 200
    assert alike(asked(world.outbound, "/", headers={"host": RATINGS})).status == 502
    for clusters in (world.admin[name]() for name in PROXIES):
        assert f"outbound|8080||{REVIEWS}" in clusters
        assert RATINGS not in clusters


@pytest.mark.parametrize(
    ("host", "path", "status", "service"),
    [
        ("shop.example", "/", 200, "reviews"),
        ("shop.example", "/ratings/7", 200, "ratings"),
        ("SHOP.example:8080", "/", 200, "reviews"),
        ("shop.example", "/moved", 301, ""),
        ("a.wild.example", "/", 200, "ratings"),
        ("other.example", "/", 404, ""),
        ("shop.other", "/", 404, ""),
    ],
)
def test_plain_requests_at_a_gateway(world: World, host: str, path: str, status: int, service: str) -> None:
    answer = alike(asked(world.http, path, headers={"host": host}))
    assert answer.status == status
    assert not service or answer.json()["service"] == service


@pytest.mark.parametrize(
    ("host", "status", "service"),
    [
        ("a.own.example", 200, "reviews"),
        ("a.open.example", 200, "reviews"),
        ("elsewhere.example", 404, ""),
        ("b.own.example", 200, "ratings"),
        ("b.open.example", 404, ""),
        ("c.open.example", 200, "reviews"),
        ("c.own.example", 404, ""),
        ("d.open.example", 500, ""),
    ],
)
def test_listeners_of_the_gateway_api(world: World, host: str, status: int, service: str) -> None:
    """What listeners let in: by host, by name, from other namespaces, and to backends of others only by a grant."""
    answer = alike(asked(world.plain, "/", headers={"host": host}))
    assert answer.status == status
    assert not service or answer.json()["service"] == service


def test_https_of_the_gateway_api(world: World) -> None:
    ours, theirs = (secure(world, name, "secret.example", world.secure) for name in PROXIES)
    assert ours == theirs
    assert (ours[0], json.loads(ours[1])["service"]) == (200, "ratings")


def secure(world: World, name: str, server_name: str, ports: Port | None = None) -> tuple[int, bytes]:
    context = ssl.create_default_context(cafile=str(world.authority.root.certificate))
    with socket.create_connection(("127.0.0.1", (ports or world.https)[name]), 10) as plain:
        connection = http.client.HTTPConnection(server_name)
        connection.sock = context.wrap_socket(plain, server_hostname=server_name)
        connection.request("GET", "/ratings", headers={"host": server_name})
        response = connection.getresponse()
        found = response.status, response.read()
        connection.close()
    return found


@pytest.mark.parametrize("host", ["secure.example", "secret.example"])
def test_https_at_a_gateway(world: World, host: str) -> None:
    """With a certificate from files, and with one that comes as a secret."""
    ours, theirs = (secure(world, name, host) for name in PROXIES)
    assert ours == theirs
    assert (ours[0], json.loads(ours[1])["service"]) == (200, "ratings")
    for name in PROXIES:
        with pytest.raises(OSError, match=r".*"):
            secure(world, name, "stranger.example")


@pytest.mark.parametrize(
    ("method", "path", "status", "service"),
    [
        ("GET", "/team/7", 200, "reviews"),
        ("POST", "/team/7", 200, "ratings"),
        ("GET", "/team/moved", 301, ""),
        ("GET", "/elsewhere", 404, ""),
    ],
)
def test_routes_of_a_delegate(world: World, method: str, path: str, status: int, service: str) -> None:
    answer = alike(asked(world.http, path, method=method, headers={"host": "team.example"}))
    assert answer.status == status
    assert not service or answer.json()["service"] == service


def test_a_delegate_keeps_its_own_headers(world: World) -> None:
    for method, by in (("GET", "root"), ("POST", "team")):
        for answer in asked(world.http, "/echo", method=method, headers={"host": "team.example"}).values():
            assert ["x-by", by] in answer.json()["headers"]


@pytest.mark.parametrize(("path", "service"), [("/near", "reviews"), ("/shared", "ratings"), ("/ranked", "ratings")])
def test_the_place_and_the_labels_of_the_client_decide_who_answers(world: World, path: str, service: str) -> None:
    for _ in range(10):
        answer = alike(asked(world.http, path, headers={"host": "team.example"}))
        assert answer.json()["service"] == service


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "service"),
    [
        ("GET", "/", {}, 200, "reviews"),
        ("GET", "/a", {}, 200, "ratings"),
        ("GET", "/a/x", {}, 200, "ratings"),
        ("GET", "/ab", {}, 200, "reviews"),
        ("GET", "/a/b", {}, 200, "reviews"),
        ("GET", "/a/b/c/d", {}, 200, "reviews"),
        ("GET", "/a/b/cd", {}, 200, "ratings"),
        ("GET", "/a/x", {"x-version": "v1"}, 200, "reviews"),
        ("GET", "/a/x?v=2", {}, 200, "reviews"),
        ("GET", "/a/x?v=3", {}, 200, "ratings"),
        ("GET", "/redirected", {}, 302, ""),
        ("GET", "/redirected/x?y=z", {}, 302, ""),
        ("GET", "/secured/x", {}, 301, ""),
        ("GET", "/nobody", {}, 500, ""),
        ("GET", "/nothing", {}, 500, ""),
        ("GET", "/copied", {}, 200, "reviews"),
    ],
)
def test_http_routes_of_the_gateway_api(
    world: World, method: str, path: str, headers: dict[str, str], status: int, service: str
) -> None:
    asking = functools.partial(asked, world.http, path, method=method, headers={"host": "api.example"} | headers)
    if status // 100 == 3:  # where it leads holds the port of the gateway, which each has of its own
        ours, theirs = (_without_port(asking()[name], world.http[name]) for name in PROXIES)
        assert ours == theirs == (status, ours[1])
        return
    answer = alike(asking())
    assert answer.status == status
    assert not service or answer.json()["service"] == service


def _without_port(answer: Response, port: int) -> tuple[int, str]:
    return answer.status, (answer.header("location") or "").replace(f":{port}/", ":PORT/")


def test_where_redirects_of_the_gateway_api_lead(world: World) -> None:
    for path, location in (
        ("/redirected", "http://new.example:{port}/echo"),
        ("/redirected/x?y=z", "http://new.example:{port}/echo/x?y=z"),
        ("/secured/x", "https://api.example:8443/in"),
    ):
        for name, answer in asked(world.http, path, headers={"host": "api.example"}).items():
            assert answer.header("location") == location.format(port=world.http[name])


def test_what_a_route_of_the_gateway_api_changes(world: World) -> None:
    for answer in asked(world.http, "/rewritten/x", headers={"host": "api.example"}).values():
        seen = answer.json()
        assert seen["target"] == "/echo/x"
        assert ["x-share", "100%"] in seen["headers"]
        assert ["host", "inner.shop"] in seen["headers"]
    for answer in asked(world.http, "/", headers={"host": "api.example"}).values():
        assert answer.header("x-by") == "route"


@pytest.mark.parametrize(
    ("path", "status", "service"),
    [("/shop.Reviews/Rate", 200, "ratings"), ("/shop.Reviews/Get", 200, "reviews"), ("/shop.Other/Get", 404, "")],
)
def test_grpc_routes(world: World, path: str, status: int, service: str) -> None:
    answer = alike(asked(world.http, path, method="POST", headers={"host": "grpc.example"}))
    assert answer.status == status
    assert not service or answer.json()["service"] == service


def test_a_route_beside_a_service_in_the_mesh(world: World) -> None:
    for name in PROXIES:
        answer = fetch(f"127.0.0.1:{world.outbound[name]}", "/meshed/x", headers={"host": REVIEWS})
        assert (answer.status, (answer.header("location") or "").rpartition("/echo")[2]) == (302, "/x")
    assert alike(asked(world.outbound, "/", headers={"host": REVIEWS})).status == 200


def test_what_is_said_of_routes_of_the_gateway_api(world: World) -> None:
    (item,) = json.loads(world.plane.ctl("get", "httproutes", "api", "-o", "json").stdout)
    assert item["apiVersion"] == "gateway.networking.k8s.io/v1"
    said = world.plane.ctl("status", check=False).stdout
    assert "HTTPRoute default/api ResolvedRefs=False" in " ".join(said.split())
    (item,) = json.loads(world.plane.ctl("get", "gateways.gateway.networking.k8s.io", "k8s-envoy", "-o", "json").stdout)
    assert (item["kind"], item["apiVersion"]) == ("Gateway", "gateway.networking.k8s.io/v1")
    explained = world.plane.ctl("explain", "isthmus-router", "api.example", "/a/b/c", check=False).stdout
    assert "HTTPRoute default/api-too spec.rules[0].matches[0]" in explained


def test_spans_of_requests_at_a_gateway(world: World) -> None:
    headers = {"host": "shop.example", "x-user": "traced", "user-agent": "ua"}

    def attributes() -> list[list[dict[str, str]]]:
        found = world.spans.services()
        return [[each for each in found.get(f"{name}-router", []) if each.get("user") == "traced"] for name in PROXIES]

    for answer in asked(world.http, "/echo", headers=headers).values():
        assert any(name == "traceparent" for name, _ in answer.json()["headers"])
    eventually(lambda: all(attributes()), what="both report a span")
    (ours,), (theirs,) = attributes()
    same = (
        "team",
        "user",
        "http.method",
        "http.status_code",
        "upstream_cluster",
        "user_agent",
        "component",
        "response_flags",
    )
    assert {name: ours.get(name) for name in same} == {name: theirs.get(name) for name in same}
    assert (ours["team"], ours["http.status_code"], ours["upstream_cluster"]) == (
        "shop",
        "200",
        f"outbound|8080||{REVIEWS}",
    )
    assert not any(name.endswith("-sidecar") for name in world.spans.services()), "nobody asked for these"


@pytest.mark.parametrize("server", PROXIES)
def test_sidecars_call_one_another_by_mutual_tls(world: World, server: str) -> None:
    """Whoever calls whom: the client's certificate is what the policy asks for, and the application is told of it."""
    asking = functools.partial(asked, world.outbound, headers={"host": f"{server}-mutual.shop"})
    eventually(lambda: all(answer.status == 200 for answer in asking("/called").values()), what="both are let in")
    assert alike(asking("/called")).json()["service"] == "reviews"
    assert alike(asking("/closed")).status == 403
    for answer in asking("/echo").values():
        (seen,) = (value for name, value in answer.json()["headers"] if name == "x-forwarded-client-cert")
        assert f"URI={CALLER}" in seen


@pytest.mark.parametrize("server", PROXIES)
def test_a_server_that_is_somebody_else_is_not_called(world: World, server: str) -> None:
    for answer in asked(world.outbound, "/called", headers={"host": f"{server}-stranger.shop"}).values():
        assert answer.status == 503


@pytest.mark.parametrize(
    ("host", "path", "status", "service"),
    [
        ("secure.example", "/ratings", 200, "ratings"),
        ("secret.example", "/ratings", 200, "ratings"),
        ("renamed.shop", "/", 404, ""),
        ("unchecked.shop", "/", 404, ""),
        ("wrong-name.shop", "/", 503, ""),
        ("wrong-host.shop", "/", 503, ""),
        ("wrong-authority.shop", "/", 503, ""),
        ("files.shop", "/called", 200, "reviews"),
        ("credential.shop", "/called", 200, "reviews"),
        ("no-certificate.shop", "/called", 503, ""),
    ],
)
def test_tls_of_applications(world: World, host: str, path: str, status: int, service: str) -> None:
    """What gateways answer for hosts that they do not have, 404, shows that TLS was taken."""
    answers = asked(world.outbound, path, headers={"host": host})
    assert {answer.status for answer in answers.values()} == {status}
    for answer in answers.values() if service else ():
        assert answer.json()["service"] == service


def test_plain_text_is_not_taken_where_mutual_tls_is_asked_for(world: World) -> None:
    for name in PROXIES:
        with pytest.raises(OSError, match=r".*"):
            fetch(f"127.0.0.1:{world.mutual[name]}", "/open", timeout=5)
    assert alike(asked(world.inbound, "/called", headers={"host": REVIEWS})).status == 403, "who asks is not known"


def test_bytes_at_a_gateway(world: World) -> None:
    assert alike(asked(world.tcp, "/", headers={"host": "whatever"})).json()["service"] == "reviews"


def test_a_policy_that_comes_later_holds_for_both(world: World) -> None:
    policy = document("AuthorizationPolicy", "edge", {
        "selector": {"matchLabels": {"istio": "ingress"}}, "action": "DENY",
        "rules": [{"to": [{"operation": {"paths": ["/blocked*"]}}], "from": [{"source": {"remoteIpBlocks": ["127.0.0.1"]}}]}],
    })  # fmt: skip
    asking = functools.partial(asked, world.http, "/blocked/x", headers={"host": "shop.example"})
    assert alike(asking()).status == 200
    apply(world, [policy])
    world.plane.ctl("wait", "--applied")
    eventually(lambda: all(answer.status == 403 for answer in asking().values()), what="both deny")
    assert alike(asking()).status == 403
    assert alike(asked(world.http, "/", headers={"host": "shop.example"})).status == 200
    assert world.plane.ctl("status", "--check", check=False).returncode in {0, 1}
    assert not [client for client in world.plane.status()["clients"] if any(each["nack"] for each in client["types"])]
