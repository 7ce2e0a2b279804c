from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from isthmus_filter_ab_cookie import AbCookie, pick

from isthmus_proxy.extension import Reply, RequestHeaders
from isthmus_proxy.extension.testing import FakeContext, FakeExchange, Outcome, exchange, make_filter
from isthmus_proxy.http.filters.python.loading import load_filter


class Drawn(AbCookie):
    def draw(self) -> float:
        return 0.95


def ask(cookie: str = "", **values: Any) -> Outcome:
    variants = {"variants": {"a": 9, "b": 1}, **values}
    fields = [("cookie", cookie)] if cookie else []
    return exchange(make_filter(Drawn, variants), RequestHeaders("GET", "/", fields=fields))


def test_it_is_installed() -> None:
    assert load_filter("ab-cookie", "filter") is AbCookie


def test_a_new_client_gets_a_variant_and_a_cookie() -> None:
    outcome = ask()
    assert outcome.sent is not None
    assert outcome.sent.get("x-variant") == "b"
    assert outcome.headers.get("set-cookie") == "variant=b; Path=/; Max-Age=2592000; SameSite=Lax"
    assert outcome.exchange.rerouted
    assert outcome.exchange.metadata("ab_cookie", "variant") == "b"


@pytest.mark.parametrize("cookie", ["variant=a", "x=1; variant=a", 'variant="a"'])
def test_a_client_stays_with_its_variant(cookie: str) -> None:
    outcome = ask(cookie)
    assert outcome.sent is not None
    assert outcome.sent.get("x-variant") == "a"
    assert "set-cookie" not in outcome.headers


def test_a_variant_that_is_no_more_is_drawn_anew() -> None:
    assert "variant=b" in ask("variant=old").headers.get("set-cookie", "")


def test_a_client_cannot_choose_by_the_header() -> None:
    request = RequestHeaders("GET", "/", fields=[("x-variant", "a"), ("x-variant", "c")])
    outcome = exchange(make_filter(Drawn, {"variants": {"a": 9, "b": 1}}), request)
    assert outcome.sent is not None
    assert outcome.sent.get_all("x-variant") == ["b"]


def test_local_replies_carry_the_cookie_too() -> None:
    split = make_filter(Drawn, {"variants": {"a": 9, "b": 1}})
    fake = FakeExchange(RequestHeaders())
    split.on_request_headers(fake, fake.request)
    reply = split.on_local_reply(fake, Reply(503, b"down"))
    assert reply is not None
    assert (reply.status, reply.body, reply.headers[-1][0]) == (503, b"down", "set-cookie")


def test_weights_are_kept_and_counted() -> None:
    drawn = Counter(pick((("a", 9), ("b", 1), ("c", 0)), number / 1000) for number in range(1000))
    assert drawn == {"a": 900, "b": 100}
    context = FakeContext()
    exchange(make_filter(Drawn, {"variants": {"a": 9, "b": 1}}, context), RequestHeaders())
    assert context.counters["assigned.b"].value == 1


@pytest.mark.parametrize("variants", [None, {}, {"a": 0}, {"a": -1}, {"a b": 1}, {"a": "1"}, ["a"]])
def test_wrong_variants_are_refused(variants: object) -> None:
    with pytest.raises(ValueError, match="variants"):
        make_filter(AbCookie, {"variants": variants})
