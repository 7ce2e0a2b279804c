"""Each field by its rule."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus_mcp_bridge.catalog import fields
from isthmus_mcp_bridge.catalog.rules import DEFAULT_RULES, LabelRule, MergeRules, PresenceRule, WeightRule
from isthmus_mcp_bridge.model import EndpointClaim, Labels, Presence

UP, DOWN, OFF, HELD = Presence.UP, Presence.UNHEALTHY, Presence.OFFLINE, Presence.DOUBTED


def said(*presences: Presence) -> list[EndpointClaim]:
    return [EndpointClaim("http", "10.0.0.1", 1, presence=one) for one in presences]


def test_presence() -> None:
    every = MergeRules(presence=PresenceRule.ALL)
    for rules in (DEFAULT_RULES, every):
        assert fields.is_up(said(UP), rules)
        assert fields.is_up(said(HELD), rules)
        assert not fields.is_up(said(UP, OFF), rules)
        assert not fields.is_up(said(HELD, DOWN), rules)
    assert fields.is_up(said(UP, DOWN), DEFAULT_RULES)
    assert not fields.is_up(said(UP, DOWN), every)


def weighing(*weights: int | None) -> list[EndpointClaim]:
    return [EndpointClaim("http", "10.0.0.1", 1, weight=one) for one in weights]


def test_weight() -> None:
    for rule, value in ((WeightRule.PRIORITY, (5, 1)), (WeightRule.MAX, (9, 2)), (WeightRule.MIN, (2, 3))):
        assert fields.weight(weighing(None, 5, 9, 2), MergeRules(weight=rule)) == value
        assert fields.weight(weighing(None), MergeRules(weight=rule)) == (100, fields.NOBODY)


def labelled(*labels: Labels) -> list[EndpointClaim]:
    return [EndpointClaim("http", "10.0.0.1", 1, labels=one) for one in labels]


def test_labels() -> None:
    claims = labelled((), (("a", "1"),), (("a", "2"), ("b", "3")))
    assert fields.labels(claims, DEFAULT_RULES) == ((("a", "1"), ("b", "3")), 1)
    assert fields.labels(claims, MergeRules(labels=LabelRule.PRIORITY)) == ((("a", "1"),), 1)
    assert fields.labels(labelled((), ()), DEFAULT_RULES) == ((), fields.NOBODY)


@given(st.lists(st.sampled_from(Presence), min_size=1), st.randoms(use_true_random=False))
def test_whether_an_endpoint_is_up_does_not_depend_on_who_says_what_first(
    said_by: list[Presence], random: object
) -> None:
    shuffled = list(said_by)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for rule in PresenceRule:
        rules = MergeRules(presence=rule)
        up = fields.is_up(said(*said_by), rules)
        assert up == fields.is_up(said(*shuffled), rules)
        assert not (up and OFF in said_by)
        assert up or OFF in said_by or DOWN in said_by
