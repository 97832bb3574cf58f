"""The score of a session over time, as a line to be drawn, with a mark at each fact."""

from __future__ import annotations

from dataclasses import dataclass

from p2pframe.admin.values_story import Story

WIDTH, HEIGHT = 720, 160
"""Of the drawing, in its own units."""
LEFT, RIGHT, TOP, BOTTOM = 30, 8, 8, 8
"""Space around the line."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A fact on the line."""

    x: float
    y: float
    text: str
    grave: bool


@dataclass(frozen=True, slots=True)
class Curve:
    """`points` is what an SVG polyline takes; `says` tells the same in words."""

    points: str
    marks: tuple[Mark, ...]
    lines: tuple[tuple[float, str], ...]
    since: float
    says: str


def curve(story: Story, now: float) -> Curve | None:
    """The line; None where there are fewer than two samples. `now` is unix time."""
    samples = story.samples
    if len(samples) < 2:
        return None
    first, last = samples[0].time, max(story.ended or now, samples[-1].time)
    span = max(last - first, 1e-3)

    def x(time: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, (time - first) / span)), 1)

    def y(score: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(1.0, max(0.0, score))), 1)

    points = [f"{x(one.time)},{y(one.score)}" for one in samples]
    points.append(f"{x(last)},{y(samples[-1].score)}")
    marks = []
    for fact in story.facts:
        at = max((one for one in samples if one.time <= fact.time), key=lambda one: one.time, default=samples[0])
        marks.append(Mark(x(fact.time), y(at.score), f"{fact.kind}: {fact.effect}", fact.effect != "noted"))
    values = [one.score for one in samples]
    says = f"From {values[0]:.2f} to {values[-1]:.2f}, at least {min(values):.2f}, at most {max(values):.2f}."
    lines = tuple((y(value), f"{value:g}") for value in (0.0, 0.5, 1.0))
    return Curve(" ".join(points), tuple(marks), lines, last - first, says)
