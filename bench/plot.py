"""Draws how fast Filestead is beside other programs; `python -m bench.plot [RESULT.json]` writes docs/*.svg.

A row is the median of the rounds with the fastest and the slowest round. Its value is how many times as fast Filestead
is as the other program, on a logarithmic axis: 2 is twice as fast, 0.5 half as fast.
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

PEERS = ("nginx", "SeaweedFS", "LiteLLM", "OGX", "dd ", "obstore")
"""Beginnings of the names of references that are other programs; all others are Filestead itself, or parts of it."""

DOCS = Path(__file__).parents[1] / "docs"
LATEST = Path(__file__).parent / "results" / "latest.json"
NAME = "benchmarks"

WIDTH, LABELS, VALUES = 760, 330, 96
TOP, ROW, BOTTOM = 66, 30, 46
FONT = "font-family='system-ui, -apple-system, Segoe UI, sans-serif'"
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of one version."""

    text: str
    muted: str
    grid: str
    mark: str


THEMES = {
    "light": Theme(text="#1f2328", muted="#59636e", grid="#d1d9e0", mark="#0a66c2"),
    "dark": Theme(text="#f0f6fc", muted="#9198a1", grid="#3d444d", mark="#58a6ff"),
}
"""On the background of the page: the files have none of their own."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many times as fast Filestead was: the median of the rounds, the slowest and the fastest one."""

    measure: str
    peer: str
    middle: float
    low: float
    high: float


def comparisons(measures: Sequence[Mapping[str, Any]]) -> list[Comparison]:
    """The rows of a result file whose reference is another program, and that have figures of both."""
    return [
        _comparison(row)
        for row in measures
        if row["ours"] and row["reference"] and row["against"].startswith(PEERS) and not row["problem"]
    ]


def _comparison(row: Mapping[str, Any]) -> Comparison:
    ours, theirs = row["ours"], row["reference"]
    faster_is_more = row["unit"].endswith("/s")

    def times(mine: float, other: float) -> float:
        return mine / other if faster_is_more else other / mine

    middle = times(median(ours), median(theirs))
    # Rounds are measured in turns, so that a round of one belongs to that of the other.
    pairs = [times(*pair) for pair in zip(ours, theirs, strict=False)]
    return Comparison(row["measure"], row["against"], middle, min([middle, *pairs]), max([middle, *pairs]))


def draw(rows: Sequence[Comparison], caption: str, theme: Theme) -> str:
    """The plot as SVG; `caption` says where and when the figures are from."""
    ticks = _ticks(rows)
    height = TOP + ROW * len(rows) + BOTTOM
    span = WIDTH - LABELS - VALUES

    def place(value: float) -> float:
        """The horizontal position of a value."""
        part = math.log(value / ticks[0]) / math.log(ticks[-1] / ticks[0])
        return LABELS + span * part

    bottom = TOP + ROW * len(rows)
    title = "How many times as fast as other programs, on the same machine"
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' {FONT} "
        f"font-size='13' fill='{theme.text}' role='img'>",
        f"<title>{escape(title)}</title>",
        f"<text x='0' y='18' font-size='15' font-weight='600'>{escape(title)}</text>",
        f"<text x='0' y='38' font-size='12' fill='{theme.muted}'>Filestead against each; dot: median, line: slowest "
        "and fastest round. Right of 1: Filestead is faster.</text>",
    ]
    for tick in ticks:
        x, line = place(tick), theme.muted if tick == 1 else theme.grid
        parts.append(f"<path d='M{x:.1f} {TOP - 8}V{bottom}' stroke='{line}'/>")
        parts.append(
            f"<text x='{x:.1f}' y='{bottom + 16}' text-anchor='middle' font-size='11' "
            f"fill='{theme.muted}'>{tick:g}</text>"
        )
    for number, row in enumerate(rows):
        parts += _row(row, TOP + ROW * number + ROW / 2, place, theme)
    parts.append(f"<text x='0' y='{height - 8}' font-size='11' fill='{theme.muted}'>{escape(caption)}</text>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _row(row: Comparison, y: float, place: Any, theme: Theme) -> list[str]:
    value = f"{row.middle:.2f}" if row.middle < 10 else f"{row.middle:.0f}"
    return [
        f"<text x='{LABELS - 14}' y='{y - 1:.1f}' text-anchor='end'>{escape(row.measure)}</text>",
        f"<text x='{LABELS - 14}' y='{y + 11:.1f}' text-anchor='end' font-size='11' fill='{theme.muted}'>"
        f"{escape(row.peer)}</text>",
        f"<path d='M{place(row.low):.1f} {y}H{place(row.high):.1f}' stroke='{theme.mark}' stroke-width='2' "
        "stroke-linecap='round'/>",
        f"<circle cx='{place(row.middle):.1f}' cy='{y}' r='5' fill='{theme.mark}'/>",
        f"<text x='{WIDTH}' y='{y + 4:.1f}' text-anchor='end'>{value} times</text>",
    ]


def _ticks(rows: Sequence[Comparison]) -> list[float]:
    """Round numbers, from one below all values to one above them; 1 is always among them."""
    low, high = min(1.0, *(row.low for row in rows)), max(1.0, *(row.high for row in rows))
    first = max((tick for tick in TICKS if tick < low), default=TICKS[0])
    last = min((tick for tick in TICKS if tick > high), default=TICKS[-1])
    return [tick for tick in TICKS if first <= tick <= last]


def write(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write both versions and return their paths; none, if the run has no comparison with another program."""
    rows = comparisons(result["measures"])
    if not rows:
        return []
    machine = result["machine"]
    load = f"load {machine['load_average_before'][0]:.1f} before the run"
    caption = f"{result['at'][:10]}, {machine['cores']} cores, {load}, Filestead {machine['filestead']}"
    written = []
    for name, theme in THEMES.items():
        path = folder / f"{NAME}-{name}.svg"
        path.write_text(draw(rows, caption, theme))
        written.append(path)
    return written


if __name__ == "__main__":
    print(*write(json.loads(Path(sys.argv[1] if len(sys.argv) > 1 else LATEST).read_text()), DOCS))
