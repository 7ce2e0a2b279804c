"""The Huffman code of HPACK (RFC 7541, 5.2 and appendix B), decoded a byte at a time.

The code is canonical: the lengths of the codes determine it. Each step of the automaton takes a whole byte from one state
to the next and gives the symbols completed on the way; steps are worked out on first use and kept, up to a bound.
"""

from __future__ import annotations

from isthmus_proxy.codec.http2.errors import compression

_EOS = 256
_MAX_STEPS = 8192
"""Steps kept, about 1 MB at most. Texts of the web use some hundreds."""

_LENGTHS: tuple[tuple[int, tuple[int, ...]], ...] = (
    (5, (48, 49, 50, 97, 99, 101, 105, 111, 115, 116)),
    (6, (32, 37, 45, 46, 47, *range(51, 58), 61, 65, 95, 98, 100, 102, 103, 104, 108, 109, 110, 112, 114, 117)),
    (7, (58, *range(66, 88), 89, 106, 107, 113, 118, 119, 120, 121, 122)),
    (8, (38, 42, 44, 59, 88, 90)),
    (10, (33, 34, 40, 41, 63)),
    (11, (39, 43, 124)),
    (12, (35, 62)),
    (13, (0, 36, 64, 91, 93, 126)),
    (14, (94, 125)),
    (15, (60, 96, 123)),
    (19, (92, 195, 208)),
    (20, (128, 130, 131, 162, 184, 194, 224, 226)),
    (21, (153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230)),
    (22, (129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190, 196, 198,
          228, 232, 233)),
    (23, (1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174, 175, 180, 182, 183,
          188, 191, 197, 231, 239)),
    (24, (9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237)),
    (25, (199, 207, 234, 235)),
    (26, (192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255)),
    (27, (203, 204, 211, 212, 214, 221, 222, 223, 241, *range(244, 249), 250, 251, 252, 253, 254)),
    (28, (*range(2, 9), 11, 12, *range(14, 22), *range(23, 32), 127, 220, 249)),
    (30, (10, 13, 22, _EOS)),
)  # fmt: skip

Step = tuple[int, bytes]


def _tree() -> list[list[int]]:
    """Inner nodes as [child for 0, child for 1]; a child is a node's index, or ~symbol for a leaf."""
    nodes: list[list[int]] = [[0, 0]]
    code = previous = 0
    for length, symbols in _LENGTHS:
        for symbol in symbols:
            code <<= length - previous
            previous = length
            _plant(nodes, code, length, symbol)
            code += 1
    return nodes


def _plant(nodes: list[list[int]], code: int, length: int, symbol: int) -> None:
    at = 0
    for shift in range(length - 1, 0, -1):
        bit = code >> shift & 1
        if not nodes[at][bit]:
            nodes.append([0, 0])
            nodes[at][bit] = len(nodes) - 1
        at = nodes[at][bit]
    nodes[at][code & 1] = ~symbol


class HuffmanDecoder:
    """The automaton. A state is the index of a node; padding may end in a state on the way to EOS, at most 7 bits deep."""

    __slots__ = ("_final", "_nodes", "_steps")

    def __init__(self) -> None:
        self._nodes: list[list[int]] = _tree()
        self._steps: dict[int, Step] = {}
        final = [0]
        for _ in range(7):
            final.append(self._nodes[final[-1]][1])
        self._final = frozenset(final)

    def decode(self, data: bytes) -> bytes:
        """The text of ``data``. Raises Http2ConnectionError for EOS in the text and for wrong padding."""
        steps = self._steps
        state = 0
        text: list[bytes] = []
        for byte in data:
            step = steps.get(state << 8 | byte)
            if step is None:
                step = self._step(state, byte)
            state = step[0]
            text.append(step[1])
        if state not in self._final:
            raise compression("wrong padding of a Huffman-coded string")
        return b"".join(text)

    def _step(self, state: int, byte: int) -> Step:
        at = state
        symbols = bytearray()
        for shift in range(7, -1, -1):
            at = self._nodes[at][byte >> shift & 1]
            if at < 0:
                if at == ~_EOS:
                    raise compression("EOS in a Huffman-coded string")
                symbols.append(~at)
                at = 0
        step = (at, bytes(symbols))
        if len(self._steps) < _MAX_STEPS:
            self._steps[state << 8 | byte] = step
        return step


HUFFMAN = HuffmanDecoder()
"""One automaton for the process: it is a pure function, only its steps are remembered."""
