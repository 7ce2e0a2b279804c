"""Headers as filters in Python see them: what they keep in order, and what they refuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.extension import Headers, Reply, RequestHeaders, ResponseHeaders


def test_names_are_taken_in_any_case_and_kept_in_order() -> None:
    headers = Headers([("B", "1"), ("a", "2"), ("b", "3")])
    assert headers.get_all("b") == ["1", "3"]
    headers.set("B", "4")
    headers.add("c", "5")
    assert headers.items() == [("b", "4"), ("a", "2"), ("c", "5")]
    assert headers.remove("A")
    assert not headers.remove("a")
    assert "a" not in headers
    assert "C" in headers
    assert headers.get("a", "none") == "none"
    assert [*headers] == [("b", "4"), ("c", "5")]
    assert len(headers) == 2


@pytest.mark.parametrize("name", ["", "a b", "a:", "ä", "a\n"])
def test_names_that_are_no_tokens_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no header name"):
        Headers().add(name, "x")


@given(st.text(max_size=20))
def test_no_value_can_break_a_head(value: str) -> None:
    headers = Headers()
    try:
        headers.add("a", value)
    except ValueError:
        return
    assert not set(headers.raw[0][1]) & {0, 10, 13}


def test_heads_refuse_what_cannot_be_sent() -> None:
    request = RequestHeaders("GET", "/a", "host")
    for attribute, value in (
        ("method", "G T"),
        ("path", "/a b"),
        ("path", ""),
        ("authority", "a\r\nb"),
        ("method", ""),
    ):
        with pytest.raises(ValueError, match="is no"):
            setattr(request, attribute, value)
    assert (request.method, request.path, request.authority, request.scheme) == ("GET", "/a", "host", "http")
    with pytest.raises(ValueError, match="final status"):
        ResponseHeaders(100)
    with pytest.raises(ValueError, match="final status"):
        Reply(600)
    with pytest.raises(ValueError, match="no header value"):
        Reply(200, headers=(("a", "b\r\nc"),))
