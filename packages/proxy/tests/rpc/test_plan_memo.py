"""What the memo says is what the slow path says, for any headers, tables and orders; and it learns what nobody reads."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.codec.bolt.codec import BoltCodec
from isthmus_proxy.codec.bolt.testing import request
from isthmus_proxy.codec.rpc import Frame
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.route.model import (
    ClusterWeight,
    ForwardAction,
    HeaderMatch,
    Route,
    RouteConfiguration,
    RouteMatch,
    StringMatch,
    VirtualHost,
)
from isthmus_proxy.route.table import RouteTable
from isthmus_proxy.rpc import plan_memo
from isthmus_proxy.rpc.plan import RpcPlan, names_of, request_head
from isthmus_proxy.rpc.plan_memo import PlanMemo
from isthmus_proxy.rpc.stats import MethodStats

CODEC = BoltCodec()
STATS = MethodStats(StatsStore().scope("s"), "")


def route(cluster: str, method: bytes, *headers: HeaderMatch) -> Route:
    action = ForwardAction((ClusterWeight(cluster),), 1)
    return Route(RouteMatch(StringMatch("prefix", b"/" + method), headers), action)


def table() -> RouteTable:
    zone = HeaderMatch(b"zone", StringMatch("exact", b"z1"))
    tagged = HeaderMatch(b"tag", StringMatch("present"))
    routes = (route("tagged", b"a", tagged), route("z1", b"a", zone), route("a", b"a"), route("rest", b""))
    return RouteTable(
        RouteConfiguration("r", (VirtualHost("s", (b"s:1.0",), routes), VirtualHost("v", (b"*",), routes[2:])))
    )


def plan(data: bytes, frame: Frame, table: RouteTable | None) -> RpcPlan:
    head = request_head(CODEC.read(data, frame))
    return RpcPlan(head, table.decide(head) if table is not None else None, STATS, logged=False)


def memo(routes: RouteTable) -> PlanMemo:
    made = PlanMemo(CODEC, plan)
    made.use(routes, names_of(routes), memoise=True)
    return made


def look_up(memo: PlanMemo, data: bytes) -> RpcPlan:
    frame = CODEC.split(data, 1 << 20)[0][0]
    return memo.exact.get(data[frame[5] : frame[6]]) or memo.find(data, frame)


names = st.sampled_from((b"service", b"sofa_head_method_name", b"zone", b"Tag", b"trace", b"rpc", b"k"))
values = st.sampled_from((b"s:1.0", b"x:1.0", b"a", b"b", b"ab", b"z1", b"z2", b"")) | st.binary(max_size=4)


@given(st.lists(st.lists(st.tuples(names, values), max_size=6), max_size=40))
def test_any_sequence_of_headers_gets_the_plans_of_the_slow_path(blocks: list[list[tuple[bytes, bytes]]]) -> None:
    routes = table()
    known = memo(routes)
    for number, header in enumerate(blocks):
        data = request(number, header)
        found = look_up(known, data)
        slow = plan(data, CODEC.split(data, 1 << 20)[0][0], routes)
        assert (found.decision, found.reply, found.timeout) == (slow.decision, slow.reply, slow.timeout)


def test_a_trace_identifier_in_every_request_costs_two_plans() -> None:
    known = memo(table())
    for number in range(500):
        header = [
            (b"service", b"s:1.0"),
            (b"sofa_head_method_name", b"a"),
            (b"trace", b"%08d" % number),
            (b"zone", b"z1"),
        ]
        found = look_up(known, request(number, header))
        assert found.action is not None
        assert found.action.clusters[0].cluster == "z1"
    assert known.misses == 2
    # What a route reads is never looked past.
    other = look_up(
        known,
        request(1, [(b"service", b"s:1.0"), (b"sofa_head_method_name", b"a"), (b"trace", b"x" * 8), (b"zone", b"z2")]),
    )
    assert other.action is not None
    assert other.action.clusters[0].cluster == "a"


def test_the_memo_is_bounded() -> None:
    known = memo(table())
    for number in range(3 * plan_memo.LIMIT):
        look_up(known, request(number, [(b"service", b"s%d" % number), (b"sofa_head_method_name", b"a")]))
        assert known.size <= plan_memo.LIMIT + 64
    assert known.resets >= 2


def test_a_new_table_forgets_everything() -> None:
    known = memo(table())
    data = request(1, [(b"service", b"s:1.0"), (b"sofa_head_method_name", b"a")])
    before = look_up(known, data)
    assert look_up(known, data) is before
    routes = table()
    known.use(routes, names_of(routes), memoise=True)
    assert look_up(known, data) is not before
