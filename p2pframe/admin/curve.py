"""The score of a session over time, as a line to be drawn, with an upright line at each fact."""

from __future__ import annotations

from dataclasses import dataclass

from p2pframe.admin.values_story import Story

WIDTH, HEIGHT = 1000, 200
"""Of the drawing, in its own units: a page stretches it to the room that there is."""
EDGE = 4
"""Space above and beneath the line."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A fact on the line."""

    x: float
    text: str
    grave: bool


@dataclass(frozen=True, slots=True)
class Curve:
    """`points` is what an SVG polyline takes; `says` tells the same in words."""

    points: str
    marks: tuple[Mark, ...]
    lines: tuple[float, ...]
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
        return round(WIDTH * min(1.0, max(0.0, (time - first) / span)), 1)

    def y(score: float) -> float:
        return round(EDGE + (HEIGHT - 2 * EDGE) * (1 - min(1.0, max(0.0, score))), 1)

    points = [f"{x(one.time)},{y(one.score)}" for one in samples]
    points.append(f"{x(last)},{y(samples[-1].score)}")
    marks = tuple(
        Mark(x(fact.time), f"{fact.kind}: {fact.effect}", fact.effect != "noted") for fact in story.facts
    )
    values = [one.score for one in samples]
    says = f"From {values[0]:.2f} to {values[-1]:.2f}, at least {min(values):.2f}, at most {max(values):.2f}."
    lines = tuple(y(value) for value in (0.0, 0.5, 1.0))
    return Curve(" ".join(points), marks, lines, last - first, says)
