from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh64_intdigest

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.route.hash_policy import Client, cookie_value, hash_request
from isthmus_proxy.route.hash_policy_model import CookieHash, HashPolicy, HeaderHash, QueryParameterHash, SourceIpHash

CLIENT = Client("10.1.2.3", "10.1.2.3:5000", "10.0.0.1:80")
MASK = (1 << 64) - 1


def get(*headers: tuple[bytes, bytes], path: bytes = b"/") -> RequestHead:
    return RequestHead(b"GET", path, b"h", list(headers))


def hashed(request: RequestHead, *policies: HashPolicy) -> int | None:
    return hash_request(policies, request, CLIENT)[0]


def test_a_header_is_hashed_by_its_value() -> None:
    assert hashed(get((b"x-key", b"one")), HeaderHash(b"x-key")) == xxh64_intdigest(b"one")
    assert hashed(get(), HeaderHash(b"x-key")) is None
    assert hashed(get(path=b"/a?b"), HeaderHash(b":path")) == xxh64_intdigest(b"/a?b")


@given(values=st.permutations([b"a", b"bb", b"c"]))
def test_the_order_of_a_header_s_values_does_not_matter(values: list[bytes]) -> None:
    request = get(*((b"x-key", value) for value in values))
    assert hashed(request, HeaderHash(b"x-key")) == xxh64_intdigest(b"abbc")


def test_a_header_is_rewritten_before_it_is_hashed() -> None:
    policy = HeaderHash(b"x-key", (rb"^user-(\d+).*$", rb"\1"))
    assert hashed(get((b"x-key", b"user-17-a")), policy) == xxh64_intdigest(b"17")


def test_hashes_are_turned_and_combined() -> None:
    first, second = xxh64_intdigest(b"one"), xxh64_intdigest(b"two")
    request = get((b"a", b"one"), (b"b", b"two"))
    turned = (first << 1 | first >> 63) & MASK
    assert hashed(request, HeaderHash(b"a"), HeaderHash(b"b")) == turned ^ second
    assert hashed(request, HeaderHash(b"none"), HeaderHash(b"b")) == second


def test_a_terminal_policy_ends_only_with_a_hash() -> None:
    request = get((b"a", b"one"), (b"b", b"two"))
    assert hashed(request, HeaderHash(b"a", terminal=True), HeaderHash(b"b")) == xxh64_intdigest(b"one")
    assert hashed(request, HeaderHash(b"none", terminal=True), HeaderHash(b"b")) == xxh64_intdigest(b"two")


def test_address_and_query_parameter() -> None:
    assert hashed(get(), SourceIpHash()) == xxh64_intdigest(b"10.1.2.3")
    assert hash_request([SourceIpHash()], get(), Client("", "@pipe", "@pipe")) == (None, ())
    assert hashed(get(path=b"/?q=1&q=2"), QueryParameterHash(b"q")) == xxh64_intdigest(b"1")
    assert hashed(get(path=b"/?q"), QueryParameterHash(b"q")) == xxh64_intdigest(b"")
    assert hashed(get(path=b"/?p=1"), QueryParameterHash(b"q")) is None


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (b"s=1", b"1"),
        (b'a=b; s="1"; s=2', b"1"),
        (b"s1=3;\ts=a=b", b"a=b"),
        (b"s", b""),
        (b'x; s="', b'"'),
        (b"", b""),
    ],
)
def test_cookies(header: bytes, value: bytes) -> None:
    assert cookie_value(get((b"cookie", header)), b"s") == value


def test_a_client_without_cookie_is_given_one() -> None:
    policy = CookieHash(b"s", 60, b"/a", ((b"SameSite", b"Strict"), (b"Secure", b"")))
    value = b"%016x" % xxh64_intdigest(b"10.1.2.3:500010.0.0.1:80")
    hash_key, cookies = hash_request([policy], get(), CLIENT)
    assert hash_key == xxh64_intdigest(value)
    assert cookies == (b's="%b"; Max-Age=60; Path=/a; SameSite=Strict; Secure; HttpOnly' % value,)
    assert hash_request([policy], get((b"cookie", b"s=known")), CLIENT) == (xxh64_intdigest(b"known"), ())
    assert hash_request([CookieHash(b"s")], get(), CLIENT) == (None, ())
    session = hash_request([CookieHash(b"s", 0)], get(), CLIENT)[1]
    assert session == (b's="%b"; HttpOnly' % value,)
