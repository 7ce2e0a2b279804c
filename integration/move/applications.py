"""The applications: ``python -m move.applications CONTROL ZOOKEEPER INTERFACE PORT...``, one process with a server on each port.

Each registers itself in ZooKeeper with a session of its own, as an SDK does, and anew when that session was lost. They say no word
about the mesh. ``GET /expire/PORT`` at the control port ends that application's session as ZooKeeper would after a long silence.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from urllib.parse import quote

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NodeExistsError
from kazoo.protocol.states import KazooState

WORK_S = 0.02
"""How long an answer takes, so that requests are under way whatever happens."""
SESSION_S = 6.0


class Registration:
    """One application's own entry, and the session that holds it."""

    def __init__(self, zookeeper: str, interface: str, port: int) -> None:
        parameters = f"application=greeter-app&interface={interface}&side=provider&dynamic=true"
        url = f"rest://127.0.0.1:{port}/{interface}?{parameters}"
        self._hosts = zookeeper
        self._path = f"/dubbo/{interface}/providers/{quote(url, safe='')}"
        self._lost = threading.Event()
        self._lost.set()
        self._client = KazooClient(hosts=zookeeper, timeout=SESSION_S)
        self._client.add_listener(self._follow)
        self._client.start(timeout=30)
        threading.Thread(target=self._keep, daemon=True).start()

    def _follow(self, state: str) -> None:
        if state == KazooState.LOST:
            self._lost.set()

    def _keep(self) -> None:
        while True:
            self._lost.wait()
            self._lost.clear()
            try:
                self._client.retry(self._client.create, self._path, ephemeral=True, makepath=True)
            except NodeExistsError:
                pass
            except KazooException:
                self._lost.set()

    def expire(self) -> None:
        """End the session from beside, by a second connection that closes it."""
        expire(self._client, self._hosts)


def expire(client: KazooClient, hosts: str) -> None:
    """End a client's session, which the client learns when it next hears of the server."""
    other = KazooClient(hosts=hosts, client_id=client.client_id)
    other.start(timeout=30)
    other.stop()
    other.close()


class Server(asyncio.Protocol):
    """Answers every request after ``WORK_S``, in order, and keeps the connection."""

    def __init__(self, port: int) -> None:
        self._head = (
            b"HTTP/1.1 200 OK\r\nx-version: native\r\nx-instance: greeter-%d\r\ncontent-length: 2\r\n\r\nok" % port
        )
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            _, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            asyncio.get_running_loop().call_later(WORK_S, self._transport.write, self._head)


async def _control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, all_: dict[int, Registration]) -> None:
    line = await reader.readline()
    while (await reader.readline()).strip():
        pass
    port = int(line.split()[1].rpartition(b"/")[2])
    await asyncio.to_thread(all_[port].expire)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
    writer.close()


async def _serve(control: int, zookeeper: str, interface: str, ports: list[int]) -> None:
    loop = asyncio.get_running_loop()
    for port in ports:
        await loop.create_server(lambda port=port: Server(port), "127.0.0.1", port)  # type: ignore[misc]
    found = {port: await asyncio.to_thread(Registration, zookeeper, interface, port) for port in ports}
    await asyncio.start_server(lambda reader, writer: _control(reader, writer, found), "127.0.0.1", control)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2], sys.argv[3], [int(each) for each in sys.argv[4:]]))
