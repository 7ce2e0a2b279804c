"""``python -m howto.move_dubbo [--write PAGE] [--logs DIRECTORY]``: play the page on moving a Dubbo application, under load.

Exit status 1 if a call failed; the page is then left as it is.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from harness.eventually import eventually
from harness.process import Process
from howto.page import block, filled
from howto.stage import FILES, HOST, Stage
from howto.tally import Tally
from howto.terminal import SETTLED_S

LOOK = "python registered.py 127.0.0.1:2181 mesh.isthmus.apps.Greeter"
EXPLAIN = f"isthmus-mcp-bridge explain {HOST} --admin 127.0.0.1:15021"
PUBLISH = (
    "curl -s http://127.0.0.1:%d/pub -d "
    """'{"application": "isthmus-provider", "service": {"interface": "mesh.isthmus.apps.Greeter", "methods": ["greet"]}}'"""
)
MIGRATE = f"isthmusctl migrate {HOST} --to %s --step 50%% --interval %s --bridge http://127.0.0.1:15021"
RECEIVED = "curl -s 'http://127.0.0.1:%d/stats?filter=rpc.inbound.downstream_rq_total'"
LANGUAGES = {".yaml": "yaml", ".py": "python"}


class Move:
    """The page's steps in their order."""

    def __init__(self, stage: Stage) -> None:
        self.tally = Tally(stage.sdk, stage.received)
        self._stage = stage
        self._terminal = stage.terminal
        self._planes: list[Process] = []
        self._sidecars: list[Process] = []

    def play(self) -> dict[str, str]:
        """All of it; returns what was said, by block."""
        self._before()
        self._start_planes()
        self._apply()
        self._start_sidecars()
        self._start_consumer()
        self._to_mesh()
        self._to_sdk()
        self._remove()
        return self._terminal.said

    def _before(self) -> None:
        eventually(lambda: self._terminal.quietly(LOOK).count("providers") == 2, within=SETTLED_S, what="two providers")
        self._registered = self._terminal.run("before", LOOK)
        self.tally.end("before", sidecars=False)

    def _start_planes(self) -> None:
        run = "isthmus-controlplane run --store dir:objects --mcp xds://127.0.0.1:15020 --grpc 127.0.0.1:15010"
        self._terminal.run("planes", "mkdir objects")
        self._planes = [
            self._terminal.start("planes", "isthmus-mcp-bridge run -c bridge.yaml", serves=15021),
            self._terminal.start("planes", f"{run} --admin 127.0.0.1:15014 --load-report-interval-s 2", serves=15014),
        ]
        services = "isthmusctl get ServiceEntry"
        eventually(lambda: HOST in self._terminal.quietly(services), within=SETTLED_S, what="the service")
        self._terminal.run("planes", services)
        self._terminal.run("planes", EXPLAIN)

    def _apply(self) -> None:
        self._terminal.run("apply", "isthmusctl apply -f greeter.yaml")

    def _start_sidecars(self) -> None:
        for number in (1, 2):
            command = f"isthmus-proxy run -c provider-{number}.yaml"
            self._sidecars.append(self._terminal.start("sidecars", command, serves=22220 + number))
            self._terminal.run("sidecars", PUBLISH % (22220 + number))
        self._stage.wait_registered()
        self._terminal.run("sidecars", EXPLAIN)
        self._terminal.run("sidecars", LOOK)

    def _start_consumer(self) -> None:
        consumer = self._terminal.start("consumer", "isthmus-proxy run -c consumer.yaml", serves=20870)
        self._terminal.wait_ready(15103)
        self._sidecars.append(consumer)
        self.tally.meshed = self._stage.start_meshed_consumer()
        self._terminal.run("consumer", "isthmusctl wait --applied")
        self._terminal.run("consumer", "isthmusctl status")
        self.tally.end("sidecars started")

    def _to_mesh(self) -> None:
        command = MIGRATE % ("mesh", "15s")
        migration = self._terminal.start("", command)
        self._stage.wait_shown(1)
        for look in ("isthmusctl migrate status", LOOK, EXPLAIN):
            self._terminal.run("half", look)
        self._end(migration, "to-mesh", command)
        self._stage.wait_shown(2)
        self.tally.end("to the mesh")
        for look in ("isthmusctl migrate status", LOOK):
            self._terminal.run("mesh", look)
        self.tally.end("in the mesh")

    def _to_sdk(self) -> None:
        command = MIGRATE % ("sdk", "5s")
        self._end(self._terminal.start("", command), "to-sdk", command)
        self._stage.wait_shown(0)
        self.tally.end("back")
        self._wait_as_before()
        self._stage.wait_idle()
        for look in ("isthmusctl migrate status", LOOK, RECEIVED % 15101, RECEIVED % 15102):
            self._terminal.run("sdk", look)

    def _end(self, migration: Process, name: str, command: str) -> None:
        status = migration.wait(5 * SETTLED_S)
        said = self._terminal.output(migration)
        assert status == 0, f"{command} ended with {status}:\n{said}"
        self._terminal.show(name, f"$ {command}\n{said}")

    def _wait_as_before(self) -> None:
        eventually(
            lambda: self._terminal.quietly(LOOK) == self._registered, within=SETTLED_S, what="the registry as before"
        )

    def _remove(self) -> None:
        """The consumer with the sidecar goes first, then the sidecars, then what they were told by."""
        assert self.tally.meshed is not None
        self.tally.meshed.stop()
        self.tally.end("still with sidecars")
        self._kill(self._sidecars)
        self._terminal.run("remove", f"isthmusctl delete DualMode {HOST.rpartition('.')[2]}")
        self._kill(self._planes)
        self._wait_as_before()
        self._terminal.run("remove", LOOK)
        self.tally.end("without a mesh", sidecars=False)

    def _kill(self, processes: list[Process]) -> None:
        """SIGTERM, as the page says; each has to end by itself."""
        self._terminal.run("remove", f"kill {' '.join(str(each.pid) for each in processes)}")
        for each in processes:
            status = each.wait(SETTLED_S)
            assert status == 0, each.describe(f"ended with {status}")


def blocks(said: dict[str, str], tally: Tally) -> dict[str, str]:
    """All that goes into the page: files, what commands said, and the count."""
    found = {
        path.name: block(LANGUAGES[path.suffix], path.read_text())
        for path in FILES.iterdir()
        if path.suffix in LANGUAGES
    }
    found |= {name: block("console", text) for name, text in said.items()}
    today = dt.datetime.now(dt.UTC).date()
    found["calls"] = f"The run of {today}:\n\n{block('text', tally.table())}"
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="move_dubbo", description="Move a Dubbo application to the mesh and back.")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put what the commands said into this page")
    parser.add_argument("--logs", type=Path, metavar="DIRECTORY", help="keep the programs' logs there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        home: Path = options.logs or Path(name)
        home.mkdir(parents=True, exist_ok=True)
        move = Move(Stage(home, stack))
        said = move.play()
    print(move.tally.table())
    if move.tally.failures:
        print("\n".join(move.tally.failures[:10]))
        return 1
    if options.write is not None:
        options.write.write_text(filled(options.write.read_text(), blocks(said, move.tally)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
