from __future__ import annotations

import json
import logging
import sys

from isthmus_mcp_bridge.observe.log_format import JsonFormatter
from isthmus_mcp_bridge.observe.metrics import MAX_SERIES, Metrics, Sample


def test_rendering() -> None:
    metrics = Metrics({"b_total": "Things."}, {"a": "Now."})
    metrics.count("b_total", kind='x"\\\n')
    metrics.count("b_total", 2, kind="y")
    metrics.collect_from(lambda: [Sample("a", 1.5), Sample("a", True, {"s": "t"})])
    assert metrics.render().splitlines() == [
        "# HELP a Now.",
        "# TYPE a gauge",
        "a 1.5",
        'a{s="t"} 1',
        "# HELP b_total Things.",
        "# TYPE b_total counter",
        'b_total{kind="x\\"\\\\\\n"} 1',
        'b_total{kind="y"} 2',
    ]


def test_series_at_the_limit() -> None:
    metrics = Metrics({"c": "C."}, {})
    for number in range(MAX_SERIES + 5):
        metrics.count("c", n=str(number))
    assert metrics.value("c", n=str(MAX_SERIES - 1)) == 1
    assert metrics.value("c", n=str(MAX_SERIES)) == 0
    assert metrics.value("c", overflow="true") == 5


def test_large_counters_keep_their_digits() -> None:
    metrics = Metrics({"c": "C."}, {})
    metrics.count("c", 123456789)
    assert "c 123456789" in metrics.render()


def test_json_lines_hold_exceptions() -> None:
    try:
        int("why")
    except ValueError:
        record = logging.LogRecord("n", logging.ERROR, "f", 1, "a\n%s", ("b",), sys.exc_info())
    line = JsonFormatter().format(record)
    assert "\n" not in line
    fields = json.loads(line)
    assert (fields["level"], fields["message"]) == ("error", "a\nb")
    assert "ValueError: invalid literal" in fields["exception"]
