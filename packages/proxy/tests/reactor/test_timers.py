"""The deadline heap: moved, cancelled and discarded timers; bounded garbage; order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.reactor.timers import NEVER, Timer, TimerQueue


class Bench:
    """A queue whose timers note when they ran."""

    def __init__(self) -> None:
        self.earlier: list[float] = []
        self.queue = TimerQueue(self.earlier.append)
        self.ran: list[str] = []

    def timer(self, name: str) -> Timer:
        return Timer(self.queue, lambda: self.ran.append(name))


def test_timers_run_in_order_when_due_and_report_how_late_they_are() -> None:
    bench = Bench()
    for name, at in (("c", 3.0), ("a", 1.0), ("b", 2.0), ("d", 9.0)):
        bench.timer(name).set(at)
    assert bench.queue.run_due(0.5) == 0.0
    assert bench.queue.run_due(3.0) == 2.0
    assert bench.ran == ["a", "b", "c"]
    assert bench.queue.next_deadline() == 9.0
    assert bench.earlier == [3.0, 1.0]


def test_a_timer_that_moves_later_runs_once_at_its_last_time() -> None:
    bench = Bench()
    timer = bench.timer("a")
    timer.set(1.0)
    for at in range(2, 100):
        timer.set(float(at))
    assert len(bench.queue) == 1
    for now in range(99):
        bench.queue.run_due(float(now))
    assert bench.ran == []
    bench.queue.run_due(99.0)
    assert bench.ran == ["a"]
    assert bench.queue.next_deadline() == NEVER


def test_a_timer_that_moves_earlier_runs_once() -> None:
    bench = Bench()
    timer = bench.timer("a")
    timer.set(10.0)
    timer.set(1.0)
    bench.queue.run_due(2.0)
    bench.queue.run_due(20.0)
    assert bench.ran == ["a"]
    assert len(bench.queue) == 0


def test_a_cancelled_timer_can_be_set_again_and_a_discarded_one_is_silent() -> None:
    bench = Bench()
    timer = bench.timer("a")
    timer.set(1.0)
    timer.cancel()
    bench.queue.run_due(5.0)
    assert bench.ran == []
    timer.set(6.0)
    timer.discard()
    bench.queue.run_due(10.0)
    assert bench.ran == []


def test_entries_of_discarded_timers_are_swept_out() -> None:
    bench = Bench()
    keep = bench.timer("keep")
    keep.set(5.0)
    for _ in range(10_000):
        timer = bench.timer("x")
        timer.set(3600.0)
        timer.discard()
    assert len(bench.queue) < 200
    bench.queue.run_due(10.0)
    assert bench.ran == ["keep"]


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from(["set", "cancel", "discard", "run"]), st.floats(0, 100)),
        max_size=80,
    )
)
def test_against_a_plain_model(steps: list[tuple[int, str, float]]) -> None:
    """The heap does what a table of deadlines would do."""
    bench = Bench()
    timers = {number: bench.timer(str(number)) for number in range(6)}
    model: dict[int, float] = {}
    gone: set[int] = set()
    now = 0.0
    for number, action, value in steps:
        if action == "run":
            now += value
            bench.ran.clear()
            bench.queue.run_due(now)
            due = sorted(str(key) for key, at in model.items() if at <= now)
            assert sorted(bench.ran) == due
            model = {key: at for key, at in model.items() if at > now}
        elif number in gone:
            continue
        elif action == "set":
            timers[number].set(now + value)
            model[number] = now + value
        elif action == "cancel":
            timers[number].cancel()
            model.pop(number, None)
        else:
            timers[number].discard()
            model.pop(number, None)
            gone.add(number)
    assert bench.queue.next_deadline() <= min(model.values(), default=NEVER)
