# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Heat maps of saturation mutagenesis: bases by positions, as PNG and as one HTML file that works offline.

The HTML is written here, not by a plotting library: plotly's own script makes every file 4.6 MB, and this is a table
of colours with a label under the pointer, about 15 bytes a cell, that people mail around.
"""

import html
import io
import json
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqdna_hf.model.tokenization_vqdna import NUCLEOTIDES

MOST_POSITIONS = 20_000
"""Of all regions together: a cell of a longer heat map would be smaller than what one can see."""

_LETTERS_UP_TO = 120  # positions a row
_MOST_ROWS = 40
_LOW, _MIDDLE, _HIGH, _NONE = "#2166ac", "#f7f7f7", "#b2182b", "#c8c8c8"


@dataclass(frozen=True, eq=False)
class ScanMap:
    """The scores of one region as matrices.

    Args:
        name: of the region.
        chrom: its record.
        start: of the first position, 0-based.
        reference: (n,) letters.
        scores: by name (4, n): rows A, C, G, T; 0 at the reference's own base, NaN where that is N.
        strand: `+` or `-` where the title is to say which strand was read.

    Example:

    >>> ScanMap("r", "chr1", 99, "AC", {"llr": np.zeros((4, 2))}).title
    'chr1:100-101 (r)'
    >>> ScanMap("chr1", "chr1", 99, "AC", {}, strand="-").title
    'chr1:100-101, strand -'
    """

    name: str
    chrom: str
    start: int
    reference: str
    scores: dict[str, NDArray[np.floating[Any]]] = field(repr=False)
    strand: str = "."

    @property
    def title(self) -> str:
        """Where it is, counted from 1, the end included, as genome browsers do."""
        end = self.start + len(self.reference)
        place = f"{self.chrom}:{self.start + 1:,}-{end:,}"
        # What regions without a name are called, from a command line and from BED.
        plain = (self.chrom, place.replace(",", ""), f"{self.chrom}:{self.start}-{end}")
        title = place if self.name in plain else f"{place} ({self.name})"
        return title if self.strand == "." else f"{title}, strand {self.strand}"

    def rows(self, width: int) -> list[tuple[int, int]]:
        """The positions from the region's start, cut into rows (first, end)."""
        return [(at, min(at + width, len(self.reference))) for at in range(0, len(self.reference), width)]


def check_drawing(png: bool, positions: int) -> None:
    """Refuse a picture that cannot be made, before anything is computed.

    Args:
        png: whether there is to be a PNG, for which matplotlib is needed.
        positions: of all regions.

    Raises:
        ValueError: if matplotlib is not installed, or there are too many positions.

    Example:

    >>> check_drawing(png=False, positions=10**6)
    Traceback (most recent call last):
    ...
    ValueError: a heat map shows at most 20,000 positions, and these are 1,000,000: scan without a picture, or in parts
    """
    if positions > MOST_POSITIONS:
        raise ValueError(
            f"a heat map shows at most {MOST_POSITIONS:,} positions, and these are {positions:,}: scan without a "
            "picture, or in parts"
        )
    if png and find_spec("matplotlib") is None:
        raise ValueError('a PNG needs matplotlib: pip install "vqdna_hf[plot]" (the HTML picture needs nothing)')


def _width(maps: Sequence[ScanMap]) -> int:
    """Positions a row: as a page takes them, more where there would be too many rows; rows are about equally long."""
    total = sum(len(scan.reference) for scan in maps)
    most = max(_LETTERS_UP_TO, math.ceil(total / _MOST_ROWS))
    longest = max(len(scan.reference) for scan in maps)
    return math.ceil(longest / math.ceil(longest / most))


def _limits(maps: Sequence[ScanMap], score: str) -> tuple[float, float]:
    """The scale's ends: the same on both sides of 0 where values have both signs, else from 0."""
    values = np.concatenate([scan.scores[score].ravel() for scan in maps])
    values = values[np.isfinite(values)]
    most = float(np.abs(values).max()) if len(values) else 0.0
    most = most or 1.0
    return (-most if len(values) and values.min() < 0 else 0.0), most


def draw_png(maps: Sequence[ScanMap], score: str, about: str = "") -> bytes:
    """A heat map as PNG: red raises the score, blue lowers it, the reference's own bases are dots.

    Args:
        maps: at least one.
        score: which.
        about: below the title.

    Returns:
        The file's content; the same for the same values and the same matplotlib.

    Example:

    >>> draw_png([ScanMap("r", "chr1", 0, "AC", {"llr": np.array([[0, 1.0]] * 4)})], "llr")[1:4]
    b'PNG'
    """
    # A figure with a canvas of its own: pyplot would keep a state, and look for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    width, (low, high) = _width(maps), _limits(maps, score)
    rows = [(scan, first, end) for scan in maps for first, end in scan.rows(width)]
    letters = width <= _LETTERS_UP_TO
    # In inches from the top, so that one row and forty look alike.
    step, across = (0.95 if letters else 0.8), min(max(0.13 * width, 4.0) + 1.8, 16.0)
    down = step * len(rows) + 0.7
    figure = Figure(figsize=(across, down))
    FigureCanvasAgg(figure)
    colours = LinearSegmentedColormap.from_list("vqdna", [_LOW, _MIDDLE, _HIGH], N=511).with_extremes(bad=_NONE)
    for number, (scan, first, end) in enumerate(rows):
        share = (end - first) / width * (across - 1.7) / across
        panel = figure.add_axes((0.6 / across, 1 - (1.17 + step * number) / down, share, 0.52 / down))
        values = np.ma.masked_invalid(scan.scores[score][:, first:end])
        # Values of one sign take half of the colours, so that red is always "more".
        image = panel.imshow(values, cmap=colours, vmin=-high, vmax=high, aspect="auto")
        _label(panel, scan, first, end, letters)
        panel.set_title(scan.title if first == 0 and len(maps) > 1 else "", fontsize=7, loc="left", pad=2)
    more = f" and {len(maps) - 1} more" if len(maps) > 1 else ""
    figure.text(0.6 / across, 1 - 0.12 / down, f"{maps[0].title}{more}: {score}", va="top", fontsize=10)
    lines = textwrap.fill(about, int((across - 0.7) * 19))  # so many letters of this size are an inch
    figure.text(0.6 / across, 1 - 0.33 / down, lines, va="top", fontsize=7)
    height = min(3.0, down - 1.13)
    place = (1 - 0.9 / across, 1 - (0.65 + height) / down, 0.15 / across, height / down)
    bar = figure.colorbar(image, cax=figure.add_axes(place))
    bar.ax.set_ylim(low, high)
    bar.ax.tick_params(labelsize=7)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    return file.getvalue()


def _label(panel: Any, scan: ScanMap, first: int, end: int, letters: bool) -> None:
    """Bases at the left; below, positions (from 1) and the reference's letters, where those can be read."""
    panel.set_yticks(range(len(NUCLEOTIDES)), list(NUCLEOTIDES), fontsize=7)
    panel.tick_params(length=2, pad=1)
    shown = scan.reference[first:end]
    step = 10 if letters else max(10, round((end - first) / 10, -1))
    marks = [at for at in range(end - first) if not (scan.start + first + at + 1) % step] or [0]
    names = [f"{scan.start + first + at + 1:,}" for at in marks]
    if not letters:
        panel.set_xticks(marks, names, fontsize=6)
        return
    panel.set_xticks(range(end - first), list(shown), fontsize=6, family="monospace")
    panel.tick_params(axis="x", length=0)
    for at, name in zip(marks, names, strict=True):
        panel.text(at, 4.75, name, fontsize=5.5, ha="center", va="top")
    known = [at for at, letter in enumerate(shown) if letter in NUCLEOTIDES]
    panel.scatter(known, [NUCLEOTIDES.index(shown[at]) for at in known], s=3, color="black", linewidths=0)


def draw_html(maps: Sequence[ScanMap], about: str = "") -> str:
    """A heat map of all scores as one HTML file, which needs no network: point at a cell to read its value.

    Args:
        maps: at least one, all with the same scores.
        about: below the title.

    Example:

    >>> page = draw_html([ScanMap("r", "chr1", 0, "AC", {"llr": np.array([[0, 1.5]] * 4)})])
    >>> "http" in page, '"scores": {"llr": [0, 0, 0, 0, 1.5,' in page
    (False, True)
    """
    regions = [
        {
            "title": scan.title,
            "chrom": scan.chrom,
            "start": scan.start,
            "reference": scan.reference,
            # Position after position, so that a reader of the file finds what belongs together side by side.
            "scores": {
                name: [_short(value) for value in values.T.ravel().tolist()] for name, values in scan.scores.items()
            },
        }
        for scan in maps
    ]
    scales = {score: _limits(maps, score) for score in maps[0].scores}
    data = {
        "regions": regions, "scales": scales, "width": _width(maps), "colours": [_LOW, _MIDDLE, _HIGH], "none": _NONE,
        "bases": NUCLEOTIDES, "letters": _LETTERS_UP_TO,
    }  # fmt: skip
    # In a script "</" would end it, wherever it stands.
    text = json.dumps(data, allow_nan=False).replace("</", "<\\/")
    title = maps[0].title + (f" and {len(maps) - 1} more" if len(maps) > 1 else "")
    page = _PAGE.replace("@TITLE@", html.escape(title)).replace("@ABOUT@", html.escape(about))
    return page.replace("@DATA@", text)


def _short(value: float) -> float | int | None:
    """Four digits; more cannot be seen, and the table has them."""
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.4g}")
    return int(rounded) if rounded == int(rounded) else rounded


_PAGE = r"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>@TITLE@</title>
<style>
body { font: 14px sans-serif; margin: 1.5em; color: #222; background: #fff }
h1 { font-size: 1.2em; margin: 0 } h2 { font-size: 1em; font-weight: normal; margin: 1em 0 .2em }
canvas { display: block; margin-bottom: .4em }
#tip { position: fixed; padding: .2em .5em; background: #222; color: #fff; border-radius: 3px; pointer-events: none }
#scale { display: inline-block; width: 12em; height: .9em; margin: 0 .5em; vertical-align: middle }
</style>
<h1>@TITLE@</h1>
<p>@ABOUT@</p>
<p><label>Score <select id="score"></select></label>
<span id="low"></span><span id="scale"></span><span id="high"></span>
(dots: the reference; grey: N)</p>
<div id="maps"></div>
<div id="tip" hidden></div>
<script type="application/json" id="data">@DATA@</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const find = name => document.getElementById(name);
const cell = data.width <= data.letters ? 12 : Math.max(2, Math.floor(1200 / data.width)), tall = 14;
const left = 16, below = 28, ratio = window.devicePixelRatio || 1;
const parts = data.colours.map(text => [1, 3, 5].map(at => parseInt(text.slice(at, at + 2), 16)));
function colour(value, high) {
  if (value === null) return data.none;
  const x = Math.max(-1, Math.min(1, value / high)), end = parts[x < 0 ? 0 : 2], share = Math.abs(x);
  return `rgb(${parts[1].map((middle, i) => Math.round(middle + (end[i] - middle) * share)).join()})`;
}
function place(region, at) { return `${region.chrom}:${(region.start + at + 1).toLocaleString("en")}`; }
function draw(canvas, region, first, end, score) {
  const pen = canvas.getContext("2d"), high = data.scales[score][1], values = region.scores[score];
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.textAlign = "center"; pen.font = "10px monospace";
  for (let base = 0; base < 4; base++) {
    pen.fillStyle = "#222"; pen.fillText(data.bases[base], left / 2, base * tall + 11);
  }
  for (let at = first; at < end; at++) {
    const x = left + (at - first) * cell, letter = region.reference[at];
    for (let base = 0; base < 4; base++) {
      pen.fillStyle = colour(values[4 * at + base], high);
      pen.fillRect(x, base * tall, cell, tall);
    }
    pen.fillStyle = "#222";
    const own = data.bases.indexOf(letter);
    if (cell > 8) {
      if (own >= 0) pen.fillRect(x + cell / 2 - 1.5, own * tall + tall / 2 - 1.5, 3, 3);
      pen.fillText(letter, x + cell / 2, 4 * tall + 11);
    }
    const step = cell > 8 ? 10 : 100;
    if ((region.start + at + 1) % step === 0) {
      pen.fillText((region.start + at + 1).toLocaleString("en"), x + cell / 2, 4 * tall + 24);
    }
  }
}
function show(event, canvas, region, first, end) {
  const box = canvas.getBoundingClientRect(), tip = find("tip"), score = find("score").value;
  const at = first + Math.floor((event.clientX - box.left - left) / cell);
  const base = Math.floor((event.clientY - box.top) / tall);
  tip.hidden = at < first || at >= end || base < 0 || base > 3;
  if (tip.hidden) return;
  const letter = region.reference[at], value = region.scores[score][4 * at + base];
  const what = value === null ? "N: not scored" : letter === data.bases[base] ? "the reference" : `${score} ${value}`;
  tip.textContent = `${place(region, at)} ${letter}>${data.bases[base]}: ${what}`;
  tip.style.left = `${event.clientX + 12}px`; tip.style.top = `${event.clientY + 12}px`;
}
const canvases = [];
for (const region of data.regions) {
  const title = document.createElement("h2");
  title.textContent = region.title;
  find("maps").append(title);
  for (let first = 0; first < region.reference.length; first += data.width) {
    const end = Math.min(first + data.width, region.reference.length), canvas = document.createElement("canvas");
    const wide = left + (end - first) * cell + 24, high = 4 * tall + below;
    canvas.width = wide * ratio; canvas.height = high * ratio;
    canvas.style.width = `${wide}px`; canvas.style.height = `${high}px`;
    canvas.onmousemove = event => show(event, canvas, region, first, end);
    canvas.onmouseleave = () => { find("tip").hidden = true; };
    find("maps").append(canvas);
    canvases.push([canvas, region, first, end]);
  }
}
function redraw() {
  const score = find("score").value, [low, high] = data.scales[score];
  const colours = low < 0 ? data.colours : data.colours.slice(1);
  find("scale").style.background = `linear-gradient(to right, ${colours.join()})`;
  find("low").textContent = low.toPrecision(3); find("high").textContent = high.toPrecision(3);
  for (const [canvas, region, first, end] of canvases) draw(canvas, region, first, end, score);
}
for (const score of Object.keys(data.scales)) find("score").add(new Option(score));
find("score").onchange = redraw;
redraw();
</script>
</html>
"""
