"""The Unix socket between two processes: messages with sockets beside them, and who is at the other end."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trio

from isthmus_proxy.handover.messages import MAX_BYTES, MAX_SOCKETS, HandoverError, Message, decode, encode

KIND = socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_CREDENTIALS = struct.Struct("3i")  # unix(7): pid, uid, gid


class Channel:
    """One connection. Every wait has a deadline, after which HandoverError is raised; so it is when the other side goes."""

    __slots__ = ("_sock",)

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def close(self) -> None:
        """Hang up."""
        self._sock.close()

    def check_peer(self) -> None:
        """Raise HandoverError if another user is at the other end: it would get, or give, our listening sockets."""
        data = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _pid, uid, _gid = _CREDENTIALS.unpack(data)
        if not trusted(uid, os.geteuid()):
            raise HandoverError(f"a process of user {uid} is at the other end; this one runs as user {os.geteuid()}")

    async def send(self, message: Message, seconds: float, socks: Sequence[socket.socket] = ()) -> None:
        """Send one message, with ``socks`` beside it."""
        data, numbers = encode(message), [sock.fileno() for sock in socks]
        with _deadline(seconds):
            while True:
                try:
                    socket.send_fds(self._sock, [data], numbers)
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._sock)
                except OSError as error:
                    raise HandoverError(f"the other process has gone: {error.strerror}") from error
                else:
                    return

    async def receive(self, seconds: float) -> tuple[Message, list[socket.socket]]:
        """The next message, and the sockets that came with it (now the caller's)."""
        with _deadline(seconds):
            while True:
                try:
                    data, numbers, flags, _ = socket.recv_fds(
                        self._sock, MAX_BYTES, MAX_SOCKETS, socket.MSG_CMSG_CLOEXEC
                    )
                except BlockingIOError:
                    await trio.lowlevel.wait_readable(self._sock)
                    continue
                except OSError as error:
                    raise HandoverError(f"the other process has gone: {error.strerror}") from error
                socks = [socket.socket(fileno=number) for number in numbers]
                if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                    close_all(socks)
                    raise HandoverError("a message was cut off: it, or the sockets beside it, were too many")
                return _decoded(data, socks), socks


def _decoded(data: bytes, socks: list[socket.socket]) -> Message:
    try:
        return decode(data)
    except HandoverError:
        close_all(socks)
        raise


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError:
        raise HandoverError(f"the other process did not answer for {seconds:g} s") from None


def trusted(uid: int, own: int) -> bool:
    """Whether a process of user ``uid`` may give sockets to one of user ``own``, or get them: the same user, or root."""
    return uid in (own, 0)


def close_all(socks: Sequence[socket.socket]) -> None:
    """Give up what nobody takes."""
    for sock in socks:
        sock.close()


def connect(path: Path) -> Channel | None:
    """A connection to the process that serves at ``path``; None where none does. Raises HandoverError."""
    sock = socket.socket(socket.AF_UNIX, KIND)
    try:
        sock.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    except OSError as error:
        sock.close()
        raise HandoverError(f"cannot be connected to: {error.strerror or error}") from error
    return Channel(sock)


def listen(path: Path) -> socket.socket:
    """A listening socket at ``path``, for this user alone; one that is there is replaced. Raises HandoverError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    sock = socket.socket(socket.AF_UNIX, KIND)
    try:
        temporary.unlink(missing_ok=True)
        sock.bind(str(temporary))
        temporary.chmod(0o600)
        sock.listen(4)
        temporary.replace(path)
    except OSError as error:
        sock.close()
        temporary.unlink(missing_ok=True)
        raise HandoverError(f"cannot be listened on: {error.strerror or error}") from error
    return sock
