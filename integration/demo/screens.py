"""How the board is shown: a live screen on a terminal, plain lines elsewhere."""

import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from demo.board import Board, Meter, Rates

REFRESH_S = 0.5
LINE_EVERY_S = 2.0
EVENTS_SHOWN = 12
PUSHES_SHOWN = 6


class PlainScreen:
    """Prints each event when it happens, and the rates now and then."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._print_rates, name="rates", daemon=True)

    def __enter__(self) -> Self:
        self._board.listener = self._print
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _print(self, text: str) -> None:
        with self._lock:
            print(f"{self._board.elapsed():6.1f}s  {text}", flush=True)

    def _print_rates(self) -> None:
        meters: dict[str, Meter] = {}
        while not self._stop.wait(LINE_EVERY_S):
            for name, load in list(self._board.loads.items()):
                if name not in meters:
                    meters[name] = Meter(load)
                    continue
                self._print(f"   {name:<8} {one_line(meters[name].read())}")


class LiveScreen:
    """Redraws everything twice a second."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._meters: dict[str, Meter] = {}
        self._rates: dict[str, Rates] = {}
        self._read_at = 0.0
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=1 / REFRESH_S, screen=False)

    def __enter__(self) -> Self:
        self._board.listener = lambda _: None
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        self._measure()
        with self._board.lock:
            events = list(self._board.events)[-EVENTS_SHOWN:]
        lines = Text("\n".join(f"{at:6.1f}s  {text}" for at, text in events))
        title = f"Isthmus: {self._board.act}"
        return Group(
            self._loads(), self._pushes(), Panel(lines, title=title, title_align="left"), addresses(self._board)
        )

    def _measure(self) -> None:
        now = time.monotonic()
        if now - self._read_at < REFRESH_S:
            return
        self._read_at = now
        for name, load in list(self._board.loads.items()):
            if name in self._meters:
                self._rates[name] = self._meters[name].read()
            else:
                self._meters[name] = Meter(load)

    def _loads(self) -> Table:
        table = Table(expand=True)
        for column in ("load through", "requests/s", "split", "failed", "p50 ms", "p99 ms"):
            table.add_column(column, justify="left" if column in {"load through", "split"} else "right")
        for name, rates in self._rates.items():
            failed = Text(str(rates.failed), style="red" if rates.failed else "")
            cells = (
                f"{rates.per_second:.0f}",
                _bars(rates),
                failed,
                f"{1000 * rates.p50_s:.1f}",
                f"{1000 * rates.p99_s:.1f}",
            )
            table.add_row(name, *cells)
        return table

    def _pushes(self) -> Table:
        table = Table(expand=True)
        for column in ("push", "cause", "clients", "acknowledged by all after"):
            table.add_column(column)
        with self._board.lock:
            pushes = list(self._board.pushes)[-PUSHES_SHOWN:]
        for _, push in pushes:
            table.add_row(str(push.id), push.cause, str(push.touched), f"{1000 * (push.converged_after or 0):.0f} ms")
        return table


def addresses(board: Board) -> Table:
    """Every component and where it listens, to poke at."""
    table = Table.grid(padding=(0, 2))
    items = list(board.addresses.items())
    half = (len(items) + 1) // 2
    for row in range(half):
        left = items[row]
        right = items[row + half] if row + half < len(items) else ("", "")
        table.add_row(*left, *right)
    return table


def one_line(rates: Rates) -> str:
    """The rates of one load as text."""
    shares = " ".join(f"{version} {share:4.0%}" for version, share in rates.shares.items())
    latency = f"p50 {1000 * rates.p50_s:.1f} ms, p99 {1000 * rates.p99_s:.1f} ms"
    return f"{rates.per_second:5.0f} req/s  {shares:<18}  {rates.failed} failed  {latency}"


def summary(board: Board, seconds: float) -> RenderableType:
    """The end of a run: what was checked, and the sums."""
    checks = Table(title="Checks", title_justify="left")
    for column in ("", "check", "what happened"):
        checks.add_column(column)
    for check in board.checks:
        checks.add_row("[green]ok[/]" if check.passed else "[red]FAILED[/]", check.name, Text(check.detail))
    loads = Table(title="Load", title_justify="left")
    for column in ("through", "connections", "requests", "failed", "p50 ms", "p99 ms"):
        loads.add_column(column, justify="left" if column == "through" else "right")
    for name, load in board.loads.items():
        total = load.total()
        low, high = (f"{1000 * total.latencies.quantile(q):.1f}" for q in (0.5, 0.99))
        loads.add_row(name, str(load.target.connections), str(total.requests), str(total.failed), low, high)
    verdict = "[bold green]PASSED[/]" if board.passed else "[bold red]FAILED[/]"
    return Group(checks, loads, f"{verdict} in {seconds:.0f} s")


def _bars(rates: Rates) -> str:
    return "  ".join(f"{version} {'█' * round(20 * share)} {share:.0%}" for version, share in rates.shares.items())
