"""TLS to clients and to endpoints: the same file, the same handshakes, answers, logs and counters as a live Envoy's."""

import base64
import contextlib
import datetime as dt
import hashlib
import json
import re
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from harness.envoy import Envoy
from harness.eventually import eventually
from harness.isthmus import Proxy
from harness.origin import Origin
from harness.ports import free_port
from isthmus_proxy.tls.certificate import read_certificate
from isthmus_proxy.tls.testing import Files, Issued, make_files

PATIENCE = 20.0
SOCKETS = "type.googleapis.com/envoy.extensions.transport_sockets."
TYPES = "type.googleapis.com/envoy.extensions."
OPERATORS = [
    "RESPONSE_CODE", "RESPONSE_FLAGS", "RESPONSE_CODE_DETAILS", "PROTOCOL", "REQUESTED_SERVER_NAME", "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "DOWNSTREAM_TLS_VERSION", "DOWNSTREAM_TLS_CIPHER", "DOWNSTREAM_PEER_SUBJECT", "DOWNSTREAM_PEER_ISSUER", "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_CERT", "DOWNSTREAM_PEER_URI_SAN", "DOWNSTREAM_PEER_DNS_SAN", "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_FINGERPRINT_1", "DOWNSTREAM_LOCAL_SUBJECT", "DOWNSTREAM_PEER_CERT_V_START", "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_LOCAL_URI_SAN", "DOWNSTREAM_LOCAL_DNS_SAN", "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "UPSTREAM_TLS_VERSION", "UPSTREAM_TLS_CIPHER", "UPSTREAM_PEER_SUBJECT", "UPSTREAM_PEER_URI_SAN", "UPSTREAM_LOCAL_URI_SAN",
]  # fmt: skip
Json = dict[str, Any]
Side = Envoy | Proxy


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_files(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    with Origin("one", "v1", tmp_path_factory.mktemp("origin")) as running:
        yield running


def address(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def pair(issued: Issued) -> Json:
    return {
        "certificate_chain": {"filename": str(issued.certificate)},
        "private_key": {"filename": str(issued.key)},
    }


def roots(issued: Issued) -> Json:
    return {"trusted_ca": {"filename": str(issued.certificate)}}


def downstream(common: Json, **fields: object) -> Json:
    return {
        "name": "tls",
        "typed_config": {"@type": f"{SOCKETS}tls.v3.DownstreamTlsContext", "common_tls_context": common, **fields},
    }


def upstream(common: Json, **fields: object) -> Json:
    return {
        "name": "tls",
        "typed_config": {"@type": f"{SOCKETS}tls.v3.UpstreamTlsContext", "common_tls_context": common, **fields},
    }


def manager(log: str, routes: dict[str, str], **fields: object) -> Json:
    logged = {"json_format": {name: f"%{name}%" for name in OPERATORS}}
    return {
        "name": "http",
        "typed_config": {
            "@type": f"{TYPES}filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "test",
            "http_filters": [{"name": "r", "typed_config": {"@type": f"{TYPES}filters.http.router.v3.Router"}}],
            "access_log": [
                {"name": "f", "typed_config": {"@type": f"{TYPES}access_loggers.file.v3.FileAccessLog", "path": log, "log_format": logged}}
            ],
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "v",
                        "domains": ["*"],
                        "routes": [
                            {"match": {"prefix": path}, "route": {"cluster": name}} for path, name in routes.items()
                        ],
                    }
                ]
            },
            **fields,
        },
    }  # fmt: skip


def cluster(name: str, port: int, **fields: object) -> Json:
    endpoint = {"lb_endpoints": [{"endpoint": {"address": address(port)}}]}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [endpoint]},
        **fields,
    }


def client(files: Files, certificate: Issued | None = None, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files.authority.root.certificate)
    context.check_hostname = False
    if certificate is not None:
        context.load_cert_chain(certificate.certificate, certificate.key)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def ask(port: int, context: ssl.SSLContext | None, name: str | None, request: bytes) -> list[object]:
    """What a client sees: what was agreed, who the server is, the answer; or the error."""
    seen: list[object] = []
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
            if context is None:
                sock.sendall(request)
                answer = _all(sock)
                return ["an alert" if answer[:1] == b"\x15" else _comparable(answer)]
            with context.wrap_socket(sock, server_hostname=name) as secure:
                shown = hashlib.sha256(secure.getpeercert(binary_form=True) or b"").hexdigest()
                seen += [secure.version(), secure.cipher(), secure.selected_alpn_protocol(), shown]
                secure.sendall(request)
                seen.append(_comparable(_all(secure)) or "refused")
    except OSError:
        seen.append("refused")  # by an alert, or by the reset that overtook it
    return seen


def _all(sock: socket.socket) -> bytes:
    """Everything; Envoy mostly closes without a word of TLS, which Python's takes for an error."""
    data = b""
    with contextlib.suppress(ssl.SSLEOFError):
        while more := sock.recv(65536):
            data += more
    return data


_VARYING = re.compile(r"(date|x-envoy-upstream-service-time): [^\r]*|(x-request-id(?:\", \"|: ))[0-9a-f-]*")


def _comparable(answer: bytes) -> str:
    return _VARYING.sub(r"\1\2", answer.decode("latin-1"))


def get(path: str = "/echo", *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "host: a.test", "connection: close", *headers, "", ""]).encode()


def counters(side: Side, *patterns: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in side.admin("/stats").text.splitlines():
        name, _, value = line.partition(": ")
        if any(re.fullmatch(pattern, name) for pattern in patterns) and value.isdecimal():
            found[name] = int(value)
    # What Python's ssl does not tell, and what tells of certificates instead of connections.
    return {name: value for name, value in found.items() if not re.search(r"\.ssl\.(curves|sigalgs|certificate)\.", name)}  # fmt: skip


Play = Callable[[Side], list[object]]


def on_both(
    listeners: Callable[[str], list[Json]], clusters: list[Json], directory: Path, play: Play
) -> tuple[list[object], list[object]]:
    """What ``play`` sees with Envoy and with Isthmus on the same ports in turn, and what each has logged at its end."""
    seen = []
    for side in (Envoy, Proxy):
        place = directory / side.__name__
        log = place / "access.log"
        static = {"listeners": listeners(str(log)), "clusters": clusters}
        with side({"admin": {"address": address(0)}, "static_resources": static}, place) as running:
            running.wait_ready()
            found = play(running)
        lines = log.read_text().splitlines() if log.is_file() else []
        seen.append([*found, [json.loads(line) for line in lines]])
    return seen[0], seen[1]


def test_clients_see_and_are_seen_as_with_envoy(files: Files, origin: Origin, tmp_path: Path) -> None:
    port = free_port()
    old = client(files, alpn=("http/1.1",))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    unknown = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    clients: list[tuple[ssl.SSLContext | None, str | None, bytes]] = [
        (client(files), "server.example", get()),
        (client(files), None, get()),
        (client(files, files.client), "server.example", get("/echo", "x-forwarded-client-cert: Hash=forged")),
        (client(files, files.outsider), "server.example", get()),
        (client(files, files.wild), "server.example", get()),
        (old, "server.example", get()),
        (client(files, alpn=("h3", "http/1.1")), "x.wild.example", get()),
        (client(files, alpn=("h3",)), "nowhere.example", get()),
        (unknown, "server.example", get()),
        (None, None, get()),
        (None, None, b"\x16\x03\x01\x00\x05nonsense"),
    ]
    ours_alone = {"san_type": "URI", "matcher": {"prefix": "spiffe://mesh/"}}
    rules = {**roots(files.authority.root), "match_typed_subject_alt_names": [ours_alone]}

    def listeners(log: str) -> list[Json]:
        details = {"subject": True, "cert": True, "dns": True, "uri": True}
        forward = {"forward_client_cert_details": "APPEND_FORWARD", "set_current_client_cert_details": details}
        http = manager(log, {"/": "one"}, **forward)
        common = {
            "tls_certificates": [pair(files.server), pair(files.wild)],
            "alpn_protocols": ["h2", "http/1.1"],
            "validation_context": rules,
        }
        chain = {"filters": [http], "transport_socket": downstream(common)}
        return [{"name": "l", "stat_prefix": "in", "address": address(port), "filter_chains": [chain]}]

    def play(side: Side) -> list[object]:
        heard = [ask(port, *each) for each in clients]
        active = counters(side, r"http\.test\.downstream_cx_(active|ssl_active)")
        eventually(lambda: not any(counters(side, *active).values()), what="no connection")
        names = (
            r"listener\.in\.ssl\..*",
            r"http\.test\.downstream_cx_ssl.*",
            r"listener\.in\.downstream_cx_(total|active|destroy)",
        )
        certs = _aged(side.admin("/certs").json())
        return [heard, {name: n for name, n in counters(side, *names).items() if n}, certs]

    envoys, ours = on_both(listeners, [cluster("one", origin.port)], tmp_path, play)
    for found, expected in zip(_flat(ours), _flat(envoys), strict=True):
        assert found == expected


def _aged(certs: Json) -> Json:
    """The certificates without the days they have left, which differ by one where a day ends between two answers."""
    for each in certs["certificates"]:
        for kind in ("ca_cert", "cert_chain"):
            for one in each[kind]:
                left = (dt.datetime.fromisoformat(one["expiration_time"]) - dt.datetime.now(dt.UTC)).days
                assert int(one.pop("days_until_expiration")) in (left, left + 1)
    return certs


def _flat(seen: list[object]) -> Iterator[object]:
    """Its parts one by one, so that a difference is a short one."""
    for part in seen:
        yield from part if isinstance(part, list) else [part]


@dataclass
class SecureServer:
    """Answers over TLS and tells what each client asked for."""

    context: ssl.SSLContext
    seen: list[object] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._names: list[str | None] = []
        self.context.sni_callback = lambda _sock, name, _context: self._names.append(name)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        try:
            with self.context.wrap_socket(sock, server_side=True) as secure:
                subject = (secure.getpeercert() or {}).get("subject", ("none",))[-1]
                name = self._names.pop() if self._names else None
                self.seen.append((name, secure.version(), secure.selected_alpn_protocol(), subject))
                while secure.recv(65536):
                    secure.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        except OSError:
            return


def serving(issued: Issued, roots_of: Issued | None = None, **fields: object) -> SecureServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    context.set_alpn_protocols(["h2", "http/1.1"])
    if roots_of is not None:
        context.load_verify_locations(roots_of.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
    for name, value in fields.items():
        setattr(context, name, value)
    return SecureServer(context)


class RudeServer:
    """Takes a client's first bytes, says something or nothing, and closes."""

    def __init__(self, answer: bytes, take: int = 65536) -> None:
        self._answer, self._take = answer, take

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                with self._listener.accept()[0] as sock:
                    sock.recv(self._take)
                    sock.sendall(self._answer)


def san(kind: str, **matcher: str) -> Json:
    return {"match_typed_subject_alt_names": [{"san_type": kind, "matcher": matcher}]}


def named(**fields: object) -> Json:
    """Options of a cluster whose server names are those of the requests."""
    options = {
        "@type": f"{TYPES}upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {}},
        "upstream_http_protocol_options": {"auto_sni": True, **fields},
    }
    return {"typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}}


def checked(**fields: object) -> Json:
    return upstream({"validation_context": fields})


def checking_clusters(files: Files, at: int) -> list[Json]:
    """Clusters with an endpoint at ``at``, each with its own opinion on the certificate."""
    known = read_certificate(ssl.PEM_cert_to_DER_cert(files.server.pem))
    trusted, stranger = roots(files.authority.root), roots(files.stranger.root)
    spki = base64.b64encode(known.spki_hash).decode()
    return [
        cluster("nothing-checked", at, transport_socket=upstream({})),
        cluster("name", at, transport_socket=upstream({}, sni="server.example")),
        cluster("trusted", at, transport_socket=checked(**trusted)),
        cluster("untrusted", at, transport_socket=checked(**stranger)),
        cluster("san", at, transport_socket=checked(**trusted, **san("DNS", exact="server.example"))),
        cluster("san-uri", at, transport_socket=checked(**trusted, **san("URI", prefix="spiffe://mesh/"))),
        cluster("san-other", at, transport_socket=checked(**trusted, **san("DNS", exact="other.example"))),
        cluster("hash", at, transport_socket=checked(verify_certificate_hash=[known.details.fingerprint_256])),
        cluster("hash-other", at, transport_socket=checked(verify_certificate_hash=["00" * 32])),
        cluster("spki", at, transport_socket=checked(verify_certificate_spki=[spki])),
        cluster("alpn", at, transport_socket=upstream({"alpn_protocols": ["http/1.1"]})),
        cluster("version", at, transport_socket=upstream({"tls_params": {"tls_maximum_protocol_version": "TLSv1_3"}})),
        cluster("auto-sni", at, transport_socket=checked(**trusted), **named()),
        cluster("auto-san", at, transport_socket=checked(**trusted), **named(auto_san_validation=True)),
    ]


def test_endpoints_see_and_are_seen_as_with_envoy(files: Files, tmp_path: Path) -> None:
    port = free_port()
    with (
        serving(files.server) as usual,
        serving(files.server, files.authority.root) as mutual,
        serving(files.server, minimum_version=ssl.TLSVersion.TLSv1_3) as newest,
        RudeServer(b"HTTP/1.1 400 Bad Request\r\n\r\n") as plain,
        RudeServer(b"") as closing,
        RudeServer(b"", 100) as resetting,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        clusters = [
            *checking_clusters(files, usual.port),
            cluster("certificate", mutual.port, transport_socket=upstream({"tls_certificates": [pair(files.client)]})),
            cluster("no-certificate", mutual.port, transport_socket=upstream({})),
            cluster("wrong-certificate", mutual.port, transport_socket=upstream({"tls_certificates": [pair(files.outsider)]})),
            cluster("too-new", newest.port, transport_socket=upstream({})),
            cluster("plain", plain.port, transport_socket=upstream({})),
            cluster("closing", closing.port, transport_socket=upstream({})),
            cluster("resetting", resetting.port, transport_socket=upstream({})),
            cluster("silent", silent.getsockname()[1], transport_socket=upstream({}), connect_timeout="0.3s"),
        ]  # fmt: skip
        names = [str(each["name"]) for each in clusters]

        def listeners(log: str) -> list[Json]:
            http = manager(log, {f"/{name}/": name for name in names})
            return [{"name": "l", "address": address(port), "filter_chains": [{"filters": [http]}]}]

        def play(side: Side) -> list[object]:
            for server in (usual, mutual, newest):
                server.seen.clear()
            heard = [(name, ask(port, None, None, get(f"/{name}/"))) for name in names]
            stats = {
                name: n for name, n in counters(side, r"cluster\..*\.(ssl\..*|upstream_cx_connect_\w+)").items() if n
            }
            return [heard, stats, usual.seen[:], mutual.seen[:], newest.seen[:]]

        envoys, ours = on_both(listeners, clusters, tmp_path, play)
    # A certificate that is refused for its name or its hash: Envoy's library says so in the handshake, Python's lets nobody ask
    # before its end, so that such a server saw a whole handshake before it was left.
    by_envoy, by_ours = envoys.pop(2), ours.pop(2)
    assert isinstance(by_envoy, list)
    assert isinstance(by_ours, list)
    assert Counter(by_ours) - Counter(by_envoy) == {
        (None, "TLSv1.2", "http/1.1", "none"): 2,
        ("a.test", "TLSv1.2", "http/1.1", "none"): 1,
    }
    assert not Counter(by_envoy) - Counter(by_ours)
    for found, expected in zip(ours, envoys, strict=True):
        assert found == expected


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_a_proxy_header_as_envoys(version: str, tmp_path: Path) -> None:
    received: list[bytes] = []
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as endpoint:

        def listeners(_log: str) -> list[Json]:
            tcp = {"@type": f"{TYPES}filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "t", "cluster": "one"}
            return [
                {
                    "name": "l",
                    "address": address(port),
                    "filter_chains": [{"filters": [{"name": "t", "typed_config": tcp}]}],
                }
            ]

        raw = {"name": "raw", "typed_config": {"@type": f"{SOCKETS}raw_buffer.v3.RawBuffer"}}
        header = {
            "@type": f"{SOCKETS}proxy_protocol.v3.ProxyProtocolUpstreamTransport",
            "config": {"version": version},
            "transport_socket": raw,
        }
        clusters = [cluster("one", endpoint.getsockname()[1], transport_socket={"name": "p", "typed_config": header})]

        def play(_side: Side) -> list[object]:
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
                sock.sendall(b"hello")
                mine = sock.getsockname()[1]
                with endpoint.accept()[0] as taken:
                    taken.settimeout(PATIENCE)
                    data = b""
                    while not data.endswith(b"hello"):
                        data += taken.recv(4096)
            received.append(data)
            return [data.replace(str(mine).encode(), b"PORT").replace(mine.to_bytes(2), b"PORT")]

        envoys, ours = on_both(listeners, clusters, tmp_path, play)
    assert ours == envoys
    assert len(received[0]) > 5
