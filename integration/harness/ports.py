"""Free TCP ports for programs that cannot report the port they were given."""

import random
import socket
import threading

# Below the kernel's range for outgoing connections (32768 and up), so that no client socket takes the port in between.
_RANGE = range(20000, 32000)
_given: set[int] = set()
_lock = threading.Lock()


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on now, never given twice by this process."""
    with _lock:
        for _ in range(1000):
            port = random.choice(_RANGE)
            if port not in _given and _is_free(host, port):
                _given.add(port)
                return port
    raise RuntimeError(f"no free port on {host} in {_RANGE.start}-{_RANGE.stop - 1}")


def free_ports(count: int, host: str = "127.0.0.1") -> int:
    """The first of ``count`` free ports in a row."""
    with _lock:
        for _ in range(1000):
            ports = range(first := random.choice(_RANGE), first + count)
            if _given.isdisjoint(ports) and all(_is_free(host, port) for port in ports):
                _given.update(ports)
                return first
    raise RuntimeError(f"no {count} free ports in a row on {host} in {_RANGE.start}-{_RANGE.stop - 1}")


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def accepts(host: str, port: int, timeout: float = 1.0) -> bool:
    """Whether something accepts TCP connections there."""
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError:
        return False
    return True
