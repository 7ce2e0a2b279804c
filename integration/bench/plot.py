"""SVG charts of a report: one file a suite and figure, a row a case, one bar (or point) a subject."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from bench.result import Result, cases_of

COLOURS = {"isthmus": "#1f6feb"}
OTHERS = ("#bc4c00", "#57606a", "#1a7f37", "#8250df", "#9a6700", "#6e7781")
LABELS = {
    "rps": "requests per second",
    "cpu_us_per_request": "CPU per request, or per pushed response (µs)",
    "p50_us": "median latency (µs)",
    "p99_us": "99th percentile latency (µs)",
    "rss_mb": "resident memory (MiB)",
    "private_mb": "private memory (MiB)",
    "added_p50_us": "median latency added to direct (µs)",
    "first_config_s": "all clients configured after (s)",
    "kb_per_client": "memory per client (KiB)",
    "cpu_ms_per_change": "CPU per change (ms)",
    "cpu_mean_vs_direct_pct": "CPU of the node against no sidecars (%)",
    "rt_p50_vs_direct_pct": "median response time against no sidecars (%)",
}
# Figures that span orders of magnitude: drawn as points, since the length of a bar means nothing on such a scale.
LOGARITHMIC = {
    "push": {"cpu_us_per_request", "p50_us", "p99_us", "cpu_ms_per_change", "first_config_s", "kb_per_client"},
    "http1": {"rps", "cpu_us_per_request", "p50_us", "p99_us"},
}


def write_charts(folder: Path, results: Sequence[Result], machine: dict[str, object]) -> list[Path]:
    """Write one chart for each figure that the results have; give the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for metric in LABELS:
        rows = [result for result in results if result.median(metric) is not None]
        if rows:
            path = folder / f"{rows[0].suite}-{metric.replace('_', '-')}.svg"
            _chart(path, metric, rows, machine)
            written.append(path)
    return written


def _chart(path: Path, metric: str, rows: Sequence[Result], machine: dict[str, object]) -> None:
    cases, subjects = cases_of(rows), list(dict.fromkeys(row.subject for row in rows))
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.28 * len(cases) * (len(subjects) + 1)), layout="constrained")
    colours = {name: COLOURS.get(name, OTHERS[number % len(OTHERS)]) for number, name in enumerate(subjects)}
    logarithmic = metric in LOGARITHMIC.get(rows[0].suite, set())
    labelled: set[str] = set()
    for row in rows:
        low, high = row.spread(metric) or (0.0, 0.0)
        median = row.median(metric) or 0.0
        place = cases.index(row.case) * (len(subjects) + 1) + subjects.index(row.subject)
        label = None if row.subject in labelled else row.subject
        labelled.add(row.subject)
        whiskers = [[median - low], [high - median]]
        if logarithmic:
            axes.errorbar(median, place, xerr=whiskers, fmt="o", color=colours[row.subject], label=label)
        else:
            axes.barh(place, median, color=colours[row.subject], label=label, xerr=whiskers, height=0.9)
    axes.set_yticks([number * (len(subjects) + 1) + (len(subjects) - 1) / 2 for number in range(len(cases))], cases)
    axes.invert_yaxis()
    if logarithmic:
        axes.set_xscale("log")
        axes.grid(axis="x", which="both", alpha=0.3)
    axes.set_xlabel(LABELS[metric] + (", logarithmic" if logarithmic else ""))
    axes.set_title(f"{rows[0].suite}: {machine['cpu']}, {machine['cores']} cores", fontsize=9, loc="left")
    axes.legend(fontsize=8)
    with mpl.rc_context({"svg.hashsalt": "isthmus"}):  # with the date left out, equal figures give equal files
        figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
