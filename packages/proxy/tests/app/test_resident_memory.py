from __future__ import annotations

import subprocess
import sys

from isthmus_proxy.resident_memory import clean_file_ranges

SMAPS = """\
55d0c0000000-55d0c0010000 r--p 00000000 fe:00 11 /usr/bin/python
Size:                 64 kB
Anonymous:             0 kB
55d0c0010000-55d0c0020000 r-xp 00010000 fe:00 11 /usr/bin/python
Anonymous:             0 kB
55d0c0020000-55d0c0030000 r--p 00020000 fe:00 11 /usr/bin/python
Anonymous:            64 kB
55d0c0030000-55d0c0040000 rw-p 00030000 fe:00 11 /usr/bin/python
Anonymous:             0 kB
55d0c0040000-55d0c0050000 rw-p 00000000 00:00 0
Anonymous:             0 kB
55d0c1000000-55d0c2000000 rw-p 00000000 00:00 0 [heap]
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
7f0000002000-7f0000003000 r--s 00000000 fe:00 12 /usr/share/a file with spaces
Anonymous:             0 kB
7f0000004000-7f0000005000 r-xp 00000000 fe:00 12 /usr/lib/a library.so (deleted)
Anonymous:             0 kB
7f0000006000-7f0000007000 r-xp 00000000 fe:00 12 /usr/lib/cut.so
"""


def test_only_ranges_that_hold_what_stands_in_a_file() -> None:
    assert [(hex(start), hex(end)) for start, end in clean_file_ranges(SMAPS.splitlines(keepends=True))] == [
        ("0x55d0c0000000", "0x55d0c0010000"),
        ("0x55d0c0010000", "0x55d0c0020000"),
        ("0x7f0000004000", "0x7f0000005000"),
    ]


def test_a_program_that_gave_its_pages_back_goes_on_and_is_smaller() -> None:
    script = (
        "import json, re, sqlite3, decimal, xml.dom.minidom\n"
        "from isthmus_proxy import resident_memory\n"
        "def mapped():\n"
        "    return int(re.search(r'RssFile:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "before = mapped()\n"
        "resident_memory.release()\n"
        "after = mapped()\n"
        "print(after < before, json.loads('[1]'), decimal.Decimal('1.5') * 2, re.sub('a', 'b', 'aa'))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["True", "[1]", "3.0", "bb"]
