"""Remembers the plan of every distinct routing key, and sees through keys that differ only where nobody looks.

Theory of operation. A plan is a function of the values of some headers: those that hold service and method, and those that
the route table reads. Requests that come with the same routing key, byte for byte, get the same plan. But clients that trace
put a new identifier into each. So of keys of the same length the memo learns which values change although no plan reads
them, and from then on compares keys without these. All lengths and names are compared, hence a key that agrees in everything else
has the same fields at the same places, and its plan cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter

from isthmus_proxy.codec.rpc import Field, Frame, RpcCodec
from isthmus_proxy.route.table import RouteTable
from isthmus_proxy.rpc.plan import RpcPlan

LIMIT = 4096
"""Plans that are remembered; a full memo begins anew."""

KEY_LIMIT = 4096
"""Bytes of a key that is remembered."""

LAYOUTS_PER_LENGTH = 8

Cut = Callable[[bytes], object]
MakePlan = Callable[[bytes, Frame, RouteTable | None], RpcPlan]


class _Layout:
    """Keys of one length with the same fields: which values do not matter, and the plans by what is left."""

    __slots__ = ("cut", "fields", "plans", "sample", "volatile")

    def __init__(self, sample: bytes, fields: list[Field]) -> None:
        self.sample = sample
        self.fields = fields
        self.volatile: set[int] = set()
        self.cut: Cut | None = None
        self.plans: dict[object, RpcPlan] = {}

    def learn(self, key: bytes, read: frozenset[bytes]) -> bool:
        """Find out which unread values of ``key`` differ from those seen before; whether there are any more than before."""
        before = len(self.volatile)
        for index, (name, start, end) in enumerate(self.fields):
            if name.lower() not in read and key[start:end] != self.sample[start:end]:
                self.volatile.add(index)
        if len(self.volatile) == before:
            return False
        self.cut = itemgetter(*self._stable(len(key)))
        self.plans.clear()
        return True

    def _stable(self, size: int) -> list[slice]:
        slices, position = [], 0
        for index in sorted(self.volatile):
            _, start, end = self.fields[index]
            slices.append(slice(position, start))
            position = end
        return [*slices, slice(position, size)]


class PlanMemo:
    """See the module. ``exact`` holds plans by whole keys. ``make`` works a plan out; its table may not have fractions to be memoised.

    ``misses`` counts plans worked out, ``resets`` how often a full memo began anew.
    """

    __slots__ = ("_codec", "_layouts", "_make", "_memoise", "_read", "exact", "misses", "resets", "table")

    def __init__(self, codec: RpcCodec, make: MakePlan) -> None:
        self._codec = codec
        self._make = make
        self._memoise = False
        self._read: frozenset[bytes] = frozenset()
        self._layouts: dict[int, list[_Layout]] = {}
        self.exact: dict[bytes, RpcPlan] = {}
        self.table: RouteTable | None = None
        self.misses = 0
        self.resets = 0

    def use(self, table: RouteTable | None, names: frozenset[bytes], *, memoise: bool) -> None:
        """Forget everything; from now on plans are those of ``table``, which reads the headers ``names``."""
        self.table = table
        self._memoise = memoise and self._codec.key_holds(names)
        self._read = names | {name.lower() for name in self._codec.routing_names}
        self._forget()

    def _forget(self) -> None:
        self.exact.clear()
        self._layouts.clear()

    @property
    def size(self) -> int:
        """How many plans are remembered."""
        return len(self.exact) + sum(len(each.plans) for layouts in self._layouts.values() for each in layouts)

    def find(self, data: bytes, frame: Frame) -> RpcPlan:
        """The plan for a frame whose routing key is not in ``exact``."""
        key = data[frame[5] : frame[6]]
        layouts = self._layouts.get(len(key))
        if layouts is not None:
            for layout in layouts:
                if layout.cut is not None:
                    plan = layout.plans.get(layout.cut(key))
                    if plan is not None:
                        return plan
        return self._work_out(data, frame, key)

    def _work_out(self, data: bytes, frame: Frame, key: bytes) -> RpcPlan:
        self.misses += 1
        plan = self._make(data, frame, self.table)
        if not self._memoise or len(key) > KEY_LIMIT:
            return plan
        if self.misses % 64 == 0 and self.size >= LIMIT:
            self.resets += 1
            self._forget()
        layout = self._layout(key)
        if layout is not None:
            layout.learn(key, self._read)
            if layout.cut is not None:
                layout.plans[layout.cut(key)] = plan
                return plan
        self.exact[key] = plan
        return plan

    def _layout(self, key: bytes) -> _Layout | None:
        """The layout of ``key``, made if there is room for another."""
        fields = self._codec.fields(key)
        if fields is None:
            return None
        layouts = self._layouts.setdefault(len(key), [])
        for layout in layouts:
            if layout.fields == fields:
                return layout
        if len(layouts) >= LAYOUTS_PER_LENGTH:
            return None
        made = _Layout(key, fields)
        layouts.append(made)
        return made
