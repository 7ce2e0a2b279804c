"""What came in of a frame that is not complete yet. Pieces are joined once, however many they are."""

from __future__ import annotations


class FrameBuffer:
    """Holds bytes until ``need`` of them are there (0: any more may do)."""

    __slots__ = ("_need", "_pieces", "size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._need = 0
        self.size = 0

    def keep(self, data: bytes, need: int) -> None:
        """Hold ``data``, of a frame that has ``need`` bytes in all."""
        self._pieces.append(data)
        self.size += len(data)
        self._need = need

    def add(self, data: bytes) -> bytes:
        """What is held with ``data`` behind it, or nothing if the frame still lacks bytes."""
        self._pieces.append(data)
        self.size += len(data)
        if self.size < self._need:
            return b""
        joined = b"".join(self._pieces)
        self._pieces.clear()
        self.size = self._need = 0
        return joined
