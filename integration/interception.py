"""Run as a program in a network namespace of its own: starts a proxy, redirects connections to it, prints who answered.

unshare --net python interception.py COMMAND...
"""

import json
import os
import socket
import subprocess
import sys
import time

DESTINATIONS = [
    ("10.1.1.1", 8000),
    ("10.1.1.2", 8000),
    ("10.1.1.2", 9000),
    ("10.1.1.3", 7000),
    ("fd00::1", 9001),
    ("127.0.0.1", 15001),
]
PATIENCE = 30.0


def prepare() -> None:
    """Loopback up with the addresses of a small network, and what goes there redirected."""
    for command in (
        "ip link set lo up",
        "ip addr add 10.1.1.0/24 dev lo",
        "ip route add local 10.1.1.0/24 dev lo",
        "ip -6 addr add fd00::1/128 dev lo nodad",
        "iptables -t nat -A OUTPUT -d 10.1.1.0/24 -p tcp -j REDIRECT --to-ports 15001",
        "ip6tables -t nat -A OUTPUT -d fd00::1 -p tcp -j REDIRECT --to-ports 15001",
    ):
        subprocess.run(command.split(), check=command.startswith("ip route") is False, capture_output=True)


def answer(host: str, port: int) -> str:
    """What a connection there brings."""
    with socket.create_connection((host, port), PATIENCE) as sock:
        data = b""
        while more := sock.recv(4096):
            data += more
        return data.decode()


def main() -> None:
    """See the module."""
    prepare()
    with subprocess.Popen(sys.argv[1:], stdout=sys.stderr, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as proxy:
        try:
            wait_for("127.0.0.1", 15001, proxy)
            answers = {}
            for host, port in DESTINATIONS:
                answers[f"[{host}]:{port}" if ":" in host else f"{host}:{port}"] = answer(host, port)
            print(json.dumps(answers))
        finally:
            proxy.kill()


def wait_for(host: str, port: int, proxy: subprocess.Popen[bytes]) -> None:
    """Until somebody listens there."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection((host, port), 1).close()
        except OSError:
            if proxy.poll() is not None or time.monotonic() > deadline:
                sys.exit("the proxy does not listen")
            time.sleep(0.05)
        else:
            return


main()
