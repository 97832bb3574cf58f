"""A matplotlib figure as an `<svg>` element that belongs into a page: same figure, same bytes, and the page's colours.

The figure is drawn in the colours below, which stand for names: the page's style sheet says what each is by day and by
night.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from xml.etree import ElementTree

import matplotlib.style
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#010101"
GRID = "#020202"
FAULT = "#030303"
SERIES = tuple(f"#0400{index:02x}" for index in range(8))

_NAMES = {
    INK: "currentColor",
    GRID: "var(--grid)",
    FAULT: "var(--fault)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(SERIES)},
}
_STYLE = {
    "svg.fonttype": "none",
    "svg.image_inline": True,
    # A dollar sign in a peer's name begins no formula.
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
}
_REFERENCE = re.compile(r"#([\w-]+)\)?\Z")
_COLOUR = re.compile(r"#[0-9a-f]{6}")
_FONT = re.compile(r"font-family:[^;]*;?\s*")


def drawn(draw: Callable[[Figure], None], number: int, title: str, width: float, height: float) -> str:
    """What `draw` puts on a figure of `width` by `height` inches, as an element for plot `number` of a page.

    matplotlib has its settings in one place for the whole process; they are put back before this returns.
    """
    stream = io.StringIO()
    # One salt a plot: the ids that parts of it refer to each other by are alike nowhere else on the page.
    salt = {"svg.hashsalt": f"p2pframe {number}"}
    with matplotlib.style.context(["default", {**_STYLE, **salt}]), warnings.catch_warnings():
        # A name in a script that the measuring font lacks: the reader's browser has one.
        warnings.filterwarnings("ignore", message="Glyph ")
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return _for_page(stream.getvalue(), title)


def _for_page(text: str, title: str) -> str:
    root = ElementTree.fromstring(text)
    for element in root.iter():
        for child in [child for child in element if _local(child.tag) in ("metadata", "style")]:
            element.remove(child)
    used = {match[1] for element in root.iter() for value in element.attrib.values() if (match := _reference(value))}
    for element in root.iter():
        # Inside of HTML an element needs no namespace, and the page then holds no address at all.
        element.tag = _local(element.tag)
        attributes = {_local(name): value for name, value in element.attrib.items()}
        if attributes.get("id") not in used:
            attributes.pop("id", None)
        if "style" in attributes:
            style = _FONT.sub("", attributes["style"])
            attributes["style"] = _COLOUR.sub(lambda match: _NAMES.get(match[0], match[0]), style)
        element.attrib.clear()
        element.attrib.update(attributes)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": title}
    return ElementTree.tostring(root, encoding="unicode")


def _reference(value: str) -> re.Match[str] | None:
    return _REFERENCE.search(value) if value.startswith(("#", "url(#")) else None


def _local(name: str) -> str:
    return name.rpartition("}")[2]
