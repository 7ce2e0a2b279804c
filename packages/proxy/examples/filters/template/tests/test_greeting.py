from __future__ import annotations

import pytest
from isthmus_filter_template import Greeting

from isthmus_proxy.extension import RequestHeaders
from isthmus_proxy.extension.testing import FakeContext, FakeExchange, exchange, make_filter
from isthmus_proxy.http.filters.python.loading import load_filter


def test_it_is_installed() -> None:
    assert load_filter("template", "filter") is Greeting


def test_the_upstream_is_greeted() -> None:
    outcome = exchange(make_filter(Greeting, {"greeting": "hi"}), RequestHeaders("GET", "/"))
    assert outcome.sent is not None
    assert outcome.sent.get("x-greeting") == "hi"
    assert outcome.headers.get("x-greeted") == "yes"
    assert outcome.exchange.metadata("greeting", "said") == "hi"


def test_unknown_clients_are_refused() -> None:
    context = FakeContext()
    greeting = make_filter(Greeting, {"clients": ["ann"]}, context)
    assert exchange(greeting, RequestHeaders("GET", "/", fields=[("x-client", "ann")])).status == 200
    outcome = exchange(greeting, RequestHeaders("GET", "/", fields=[("x-client", "bob")]))
    assert outcome.status == 403
    assert outcome.sent is None
    assert context.counters["refused"].value == 1


def test_a_route_may_say_otherwise() -> None:
    request = RequestHeaders("GET", "/")
    fake = FakeExchange(request, route_configs=(Greeting.parse_route_config({"greeting": "salut"}),))
    outcome = exchange(make_filter(Greeting), request, fake=fake)
    assert outcome.sent is not None
    assert outcome.sent.get("x-greeting") == "salut"


@pytest.mark.parametrize(("values", "reason"), [({"gretting": 1}, "gretting"), ({"clients": "ann"}, "clients")])
def test_wrong_configurations_are_refused(values: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make_filter(Greeting, values)
