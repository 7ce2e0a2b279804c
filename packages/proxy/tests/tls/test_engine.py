"""Two machines joined in memory: whatever the pieces in which bytes arrive, the same is said."""

from __future__ import annotations

import contextlib
import ssl

import pytest

from isthmus_proxy.tls.engine import TlsEngine
from isthmus_proxy.tls.failure import TlsFailure
from isthmus_proxy.tls.testing import Files

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def contexts(files: Files, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.load_cert_chain(files.server.certificate, files.server.key)
    client.load_verify_locations(files.authority.root.certificate)
    client.maximum_version = version
    return server, client


class Pair:
    """A client and a server; ``piece`` is how many bytes go over at a time."""

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext, piece: int = 1 << 20) -> None:
        self.server = TlsEngine(server, server_side=True)
        self.client = TlsEngine(client, server_side=False, server_name="server.example")
        self.piece = piece

    def pass_on(self, source: TlsEngine, target: TlsEngine) -> bytes:
        data = source.take()
        return b"".join(target.receive(data[at : at + self.piece]) for at in range(0, len(data), self.piece))

    def shake_hands(self) -> None:
        self.client.begin()
        while not (self.client.established and self.server.established):
            assert self.pass_on(self.client, self.server) == b""
            assert self.pass_on(self.server, self.client) == b""
        self.pass_on(self.server, self.client)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("piece", [1, 2, 5, 100, 1 << 20])
def test_bytes_both_ways_in_any_pieces(files: Files, version: ssl.TLSVersion, piece: int) -> None:
    pair = Pair(*contexts(files, version), piece)
    pair.shake_hands()
    assert pair.client.ssl.version() == {VERSIONS[0]: "TLSv1.2", VERSIONS[1]: "TLSv1.3"}[version]
    for data in (b"x", b"hello" * 100, bytes(range(256)) * 300):
        pair.client.send(data)
        assert pair.pass_on(pair.client, pair.server) == data
        pair.server.send(data[::-1])
        assert pair.pass_on(pair.server, pair.client) == data[::-1]


def test_many_records_in_one_piece_are_one_answer(files: Files) -> None:
    pair = Pair(*contexts(files))
    pair.shake_hands()
    for number in range(50):
        pair.client.send(b"%02d" % number)
    assert pair.server.receive(pair.client.take()) == b"".join(b"%02d" % number for number in range(50))


def test_a_record_is_said_only_when_it_is_whole(files: Files) -> None:
    pair = Pair(*contexts(files))
    pair.shake_hands()
    pair.client.send(b"secret")
    sealed = pair.client.take()
    for at in range(len(sealed) - 1):
        assert pair.server.receive(sealed[at : at + 1]) == b""
    assert pair.server.receive(sealed[-1:]) == b"secret"


@pytest.mark.parametrize("version", VERSIONS)
def test_an_end_of_one_side_leaves_the_other_open(files: Files, version: ssl.TLSVersion) -> None:
    pair = Pair(*contexts(files, version))
    pair.shake_hands()
    pair.client.send(b"last")
    pair.client.close_notify()
    pair.client.close_notify()
    assert pair.pass_on(pair.client, pair.server) == b"last"
    assert pair.server.ended
    if version == ssl.TLSVersion.TLSv1_3:  # before, an end of one side was the end of both (RFC 5246, section 7.2.1)
        pair.server.send(b"answer")
        assert pair.pass_on(pair.server, pair.client) == b"answer"
        assert not pair.client.ended
    pair.server.close_notify()
    pair.pass_on(pair.server, pair.client)
    assert pair.client.ended


@pytest.mark.parametrize("version", VERSIONS)
def test_every_flipped_byte_is_found_out(files: Files, version: ssl.TLSVersion) -> None:
    for at in range(30):
        pair = Pair(*contexts(files, version))
        pair.shake_hands()
        pair.client.send(b"attack at dawn")
        sealed = bytearray(pair.client.take())
        sealed[at] ^= 0x80
        with contextlib.suppress(TlsFailure):
            assert pair.server.receive(bytes(sealed)) == b""  # a length that grew: more is waited for


def test_what_is_no_tls_is_refused_with_an_alert(files: Files) -> None:
    server = TlsEngine(contexts(files)[0], server_side=True)
    with pytest.raises(TlsFailure, match="HTTP_REQUEST") as caught:
        server.receive(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert caught.value.counter == "connection_error"
    assert not server.established


def test_a_certificate_of_a_stranger(files: Files) -> None:
    server, client = contexts(files)
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    other.load_verify_locations(files.stranger.root.certificate)
    pair = Pair(server, other)
    with pytest.raises(TlsFailure, match="CERTIFICATE_VERIFY_FAILED:verify cert failed") as caught:
        pair.shake_hands()
    assert caught.value.counter == "fail_verify_error"
    assert pair.client.has_output
    with pytest.raises(TlsFailure, match="TLSV1_ALERT_UNKNOWN_CA") as caught:
        pair.pass_on(pair.client, pair.server)
    assert caught.value.transport_reason == (
        "TLS_error:|268436504:SSL routines:OPENSSL_internal:TLSV1_ALERT_UNKNOWN_CA:TLS_error_end"
    )
    del client


def test_nothing_is_said_after_a_flood_of_halves(files: Files) -> None:
    pair = Pair(*contexts(files))
    pair.client.begin()
    hello = pair.client.take()
    for end in range(len(hello)):
        server = TlsEngine(contexts(files)[0], server_side=True)
        assert server.receive(hello[:end]) == b""
        assert not server.has_output
