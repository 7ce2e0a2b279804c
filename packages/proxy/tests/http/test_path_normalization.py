"""Paths in canonical form; the expected values are what a live Envoy 1.40 forwards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.http.path_normalization import PathNormalizer, canonical_path, merged_slashes


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/a/../b", b"/b"),
        (b"/a/./b", b"/a/b"),
        (b"/a//b", b"/a//b"),
        (b"/%61/%2e%2e/b", b"/b"),
        (b"/a%2Fb", b"/a%2Fb"),
        (b"/a%5cb", b"/a%5cb"),
        (b"/a\\b", b"/a/b"),
        (b"/a\\..\\b", b"/b"),
        (b"/../../o", b"/o"),
        (b"/a/..", b"/"),
        (b"/a/%2e", b"/a/"),
        (b"/a/.%2E/b", b"/b"),
        (b"/a/...", b"/a/..."),
        (b"/a/..b", b"/a/..b"),
        (b"/a//../b", b"/a/b"),
        (b"/a/.//b", b"/a//b"),
        (b"/..//a", b"//a"),
        (b"//..", b"/"),
        (b"/%zz/%/%a", b"/%zz/%/%a"),
        (b"/%00", None),
        (b"/%7E%C3%A9%c3", b"/~%C3%A9%c3"),
        (b"/a%252e%252e", b"/a%252e%252e"),
        (b"/a%%61", b"/a%a"),
        (b"/%6%31", b"/%2561"),
        (b'/"<>^`{|}', b"/%22%3C%3E%5E%60%7B%7C%7D"),
        (b"/[]!$&'()*+,;=:@", b"/[]!$&'()*+,;=:@"),
        (b"*", None),
    ],
)
def test_canonical_paths(path: bytes, expected: bytes | None) -> None:
    assert canonical_path(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [(b"/", b"/"), (b"//", b"//"), (b"///", b"//"), (b"//a", b"/a"), (b"/a///b//", b"/a/b/"), (b"/a/b/", b"/a/b/")],
)
def test_merged_slashes(path: bytes, expected: bytes) -> None:
    assert merged_slashes(path) == expected


PATHS = st.lists(
    st.sampled_from(
        [b"/", b"a", b".", b"..", b"%2e", b"%61", b"%41", b"%", b"2", b"e", b"%25", b"%2F", b"\\", b"|", b"~"]
    )
).map(lambda parts: b"/" + b"".join(parts))


@given(PATHS)
def test_a_canonical_path_stays_as_it_is(path: bytes) -> None:
    once = canonical_path(path)
    assert once is not None
    assert canonical_path(once) == once
    assert not {b".", b".."} & set(once.split(b"/"))


@pytest.mark.parametrize(
    ("action", "path", "expected", "status"),
    [
        ("REJECT_REQUEST", b"/a%2Fb?x=%2f", b"/a/b?x=%2f", 400),
        ("REJECT_REQUEST", b"/a?%2f", b"/a?%2f", None),
        ("UNESCAPE_AND_REDIRECT", b"/a%2f..%2Fb?q", b"/b?q", 307),
        ("UNESCAPE_AND_REDIRECT", b"/a/../b", b"/b", None),
        ("UNESCAPE_AND_FORWARD", b"/a%5c%2fb//", b"/a/b/", None),
        ("KEEP_UNCHANGED", b"/a%2f..%2fb", b"/a%2f..%2fb", None),
    ],
)
def test_escaped_slashes(action: str, path: bytes, expected: bytes, status: int | None) -> None:
    normalizer = PathNormalizer(normalize_path=True, merge_slashes=True, escaped_slashes=action)
    found, reply = normalizer.apply(path)
    assert found == expected
    assert (reply.status if reply else None) == status
    if status == 307:
        assert reply is not None
        assert reply.headers == ((b"location", expected),)


def test_slashes_alone_are_unescaped_without_the_rest() -> None:
    normalizer = PathNormalizer(normalize_path=False, merge_slashes=False, escaped_slashes="UNESCAPE_AND_FORWARD")
    assert normalizer.apply(b"/a%5c..%2f/%61?%2f") == (b"/a\\..//%61?%2f", None)
