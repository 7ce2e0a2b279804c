"""``python -m demo``: the walking mesh, live. ``--once`` plays it through, checks it and exits 0 or 1."""

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from demo.board import Board
from demo.screens import LiveScreen, PlainScreen, addresses, summary
from demo.script import Pace, Script
from demo.shop import RATINGS, REVIEWS, Shop
from harness import zookeeper
from harness.load import Load, Target
from harness.peers import MissingPeerError
from harness.process import ProcessError

ONCE = Pace(samples={"isthmus": 2000, "envoy": 500, "ratings": 50}, rest_s=0)
FOREVER = Pace(samples={"isthmus": 4000, "envoy": 1000, "ratings": 100}, rest_s=4)


def main() -> int:
    """Run the demo; return the exit status."""
    options = _options(sys.argv[1:])
    signal.signal(signal.SIGTERM, _interrupt)
    directory = Path(tempfile.mkdtemp(prefix="isthmus-demo-"))
    board = Board()
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    status = 1
    try:
        status = _run(options, directory, board, console)
    except KeyboardInterrupt:
        status = 130
    except (ProcessError, MissingPeerError, AssertionError, OSError) as error:
        print(f"\nthe demo failed in act {board.act!r}: {error}", file=sys.stderr)
    finally:
        if status and status != 130:
            print(f"logs of all programs: {directory}", file=sys.stderr)
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return status


def _run(options: argparse.Namespace, directory: Path, board: Board, console: Console) -> int:
    screen = LiveScreen(board, console) if console.is_terminal else PlainScreen(board)
    with screen, _shop(options, directory, board) as shop:
        if not console.is_terminal:
            console.print(addresses(board))
        with _loads(options, shop, board):
            script = Script(shop, board, ONCE if options.once else FOREVER)
            if options.once:
                script.play()
            else:
                _play_until_interrupted(script)
        script.judge()
    console.print(summary(board, board.elapsed()))
    return 0 if board.passed else 1


def _play_until_interrupted(script: Script) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            script.play()


@contextlib.contextmanager
def _shop(options: argparse.Namespace, directory: Path, board: Board) -> Iterator[Shop]:
    with_zookeeper = options.zookeeper if options.zookeeper is not None else zookeeper.available()
    names = "a file and ZooKeeper" if with_zookeeper else "a file"
    board.say(f"starting the shop; its services register in {names}")
    with Shop(directory, with_zookeeper=with_zookeeper, sidecars=options.sidecars) as shop:
        board.addresses = shop.addresses()
        shop.split({"v1": 100, "v2": 0})
        shop.wait_until_served()
        board.say("every client reaches every service")
        yield shop
        board.say("stopping everything")


@contextlib.contextmanager
def _loads(options: argparse.Namespace, shop: Shop, board: Board) -> Iterator[None]:
    sidecar, envoy = shop.clients["client"].address, shop.clients["envoy-client"].address
    reviews = f"{REVIEWS}:9080"
    targets = {
        "isthmus": Target(sidecar, "/reviews/1", reviews, connections=32, rate=options.rate),
        "envoy": Target(envoy, "/reviews/1", reviews, connections=8, rate=options.rate / 4),
        "ratings": Target(sidecar, "/ratings/1", RATINGS, connections=4, rate=options.rate / 16),
    }
    with contextlib.ExitStack() as stack:
        for name, target in targets.items():
            board.loads[name] = stack.enter_context(Load(target, name))
        time.sleep(0.5)
        yield


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nox -s demo --", description=__doc__)
    parser.add_argument("--once", action="store_true", help="play it through once, check it, exit 0 or 1")
    parser.add_argument(
        "--zookeeper",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="let services register in a real ZooKeeper, too (default: when it is installed)",
    )
    parser.add_argument(
        "--rate", type=float, default=800, help="requests per second through the Isthmus sidecar (default 800)"
    )
    parser.add_argument(
        "--sidecars", choices=["isthmus", "envoy"], default="isthmus", help="what runs as sidecar (default isthmus)"
    )
    return parser.parse_args(arguments)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
