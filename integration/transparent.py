"""Run as a program in a network namespace of its own: an application and its sidecar here, a peer in a second namespace.

unshare --net python transparent.py IPTABLES... -- PROXY...

The application knows nothing of the sidecar, whose group is another. Prints, as JSON, the ``x-via`` header of each answer: with the
rules of ``IPTABLES --apply`` in place, and after ``IPTABLES --clean``.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

SIDECAR_GROUP = 4242
"""The sidecar's connections are known by it; to run the application as another user its interpreter would have to be readable."""
PATIENCE = 30.0
APPLICATION, PEER, EXCLUDED = 8080, 9090, 9091

SERVER = """
import http.server, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
Server(("::", int(sys.argv[1])), Handler).serve_forever()
"""
CLIENT = """
import sys, urllib.request
answer = urllib.request.urlopen(sys.argv[1], timeout=20)
print(answer.headers.get("x-via", "nobody") if answer.read() == b"ok" else "garbage")
"""


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-I", "-c", code, *map(str, arguments)]


def until(what: str, holds: Callable[[], bool]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            sys.exit(f"not within {PATIENCE:g} s: {what}")
        time.sleep(0.05)


class Peer:
    """The second namespace, joined to this one by a pair of interfaces."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        own = Path("/proc/self/ns/net").readlink()
        until("a second namespace", lambda: Path(f"/proc/{self.process.pid}/ns/net").readlink() != own)
        self.prefix = ["nsenter", "-t", str(self.process.pid), "-n"]
        here = "ip link set lo up", f"ip link add name here type veth peer name there netns {self.process.pid}"
        up = "ip addr add 10.9.0.{0}/24 dev {1}", "ip -6 addr add fd09::{0}/64 dev {1} nodad", "ip link set {1} up"
        for command in (*here, *(each.format(1, "here") for each in up)):
            subprocess.run(command.split(), check=True, capture_output=True)
        for command in ("ip link set lo up", *(each.format(2, "there") for each in up)):
            subprocess.run([*self.prefix, *command.split()], check=True, capture_output=True)


def ask(prefix: Sequence[str], url: str) -> str:
    done = subprocess.run(
        [*prefix, *python(CLIENT, url)],
        check=False,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def ask_all(peer: Peer) -> dict[str, str]:
    """Who was passed on the way, for what goes out and what comes in."""
    return {
        "out": ask([], f"http://10.9.0.2:{PEER}/"),
        "out, IPv6": ask([], f"http://[fd09::2]:{PEER}/"),
        "out, excluded": ask([], f"http://10.9.0.2:{EXCLUDED}/"),
        "within": ask([], f"http://127.0.0.1:{APPLICATION}/"),
        "in": ask(peer.prefix, f"http://10.9.0.1:{APPLICATION}/"),
        "in, IPv6": ask(peer.prefix, f"http://[fd09::1]:{APPLICATION}/"),
    }


def main() -> None:
    """See the module."""
    split = sys.argv.index("--")
    iptables, proxy = sys.argv[1:split], sys.argv[split + 1 :]
    rules = ["--proxy-gid", str(SIDECAR_GROUP), "--exclude-outbound-ports", str(EXCLUDED)]
    peer = Peer()
    running = [peer.process]
    try:
        running.append(subprocess.Popen(python(SERVER, APPLICATION)))
        running += [subprocess.Popen([*peer.prefix, *python(SERVER, port)]) for port in (PEER, EXCLUDED)]
        running.append(subprocess.Popen(proxy, stdout=sys.stderr, group=SIDECAR_GROUP))
        for port in (APPLICATION, 15001, 15006):
            until(f"port {port}", lambda port=port: listens([], port))  # type: ignore[misc]
        for port in (PEER, EXCLUDED):
            until(f"port {port}", lambda port=port: listens(peer.prefix, port))  # type: ignore[misc]
        subprocess.run([*iptables, "--apply", *rules], check=True)
        subprocess.run([*iptables, "--apply", *rules], check=True)
        applied = ask_all(peer)
        subprocess.run([*iptables, "--clean"], check=True)
        print(json.dumps([applied, ask_all(peer)]))
    finally:
        for process in running:
            process.kill()


def listens(prefix: Sequence[str], port: int) -> bool:
    code = f"import socket; socket.create_connection(('localhost', {port}), 2)"
    return subprocess.run([*prefix, *python(code)], check=False, capture_output=True).returncode == 0


main()
