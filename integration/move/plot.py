"""The share of requests that went through the callees' sidecars, over time, with what happened meanwhile, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from move.figures import Figures

COLOURS = {"sdk": "#1f6feb", "mesh": "#bc4c00"}
NAMES = {"sdk": "consumers with an SDK", "mesh": "consumers with a sidecar"}


SMOOTHED_S = 3
"""Each point is the mean of so many seconds."""


def _smoothed(shares: Sequence[float | None]) -> list[float | None]:
    around = SMOOTHED_S // 2
    found: list[float | None] = []
    for at in range(len(shares)):
        near = [share for share in shares[max(0, at - around) : at + around + 1] if share is not None]
        found.append(sum(near) / len(near) if near else None)
    return found


def draw(path: Path, found: Figures) -> None:
    """Write the chart; equal figures give equal files."""
    figure, (axes, names) = plt.subplots(2, 1, figsize=(10, 6), sharex=True, height_ratios=[3, 2], layout="constrained")
    for kind, shares in found.share_mesh.items():
        known = [(at, 100 * share) for at, share in enumerate(_smoothed(shares)) if share is not None]
        axes.plot(*zip(*known, strict=True), color=COLOURS[kind], label=NAMES[kind], linewidth=1.4)
    moved = 0
    line = [(0.0, 0.0)]
    for at, _, to_mesh in found.moves:
        moved += 1 if to_mesh else -1
        line.append((at, 100 * moved / found.instances))
    axes.step(*zip(*line, strict=True), where="post", color="#57606a", linewidth=0.8, label="instances in the mesh")
    axes.set_ylabel("through the callee's sidecar (%)")
    axes.set_ylim(-2, 102)
    axes.legend(fontsize=8, loc="upper right")
    axes.set_title(
        f"{found.instances} instances move to the mesh and back: {found.requests} requests, {found.failed} failed",
        fontsize=9,
        loc="left",
    )
    for row, (at, what) in enumerate(found.events):
        for each in (axes, names):
            each.axvline(at, color="#57606a", linestyle=":", linewidth=0.7)
        right = at > 0.55 * found.seconds
        names.text(
            at, -row, f"{what} " if right else f" {what}", fontsize=7, va="center", ha="right" if right else "left"
        )
    names.set_ylim(-len(found.events), 1)
    names.set_yticks([])
    names.set_xlabel("seconds")
    with mpl.rc_context({"svg.hashsalt": "isthmus"}):
        figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
