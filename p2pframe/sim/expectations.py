"""What a scenario expects: of the values of each run (`expect`), and of its variants over all seeds (`compare`).

Nothing is judged in anyone's favour: a value that was not measured, or is no number, fails whatever was expected of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from p2pframe.config.wording import did_you_mean, nearest
from p2pframe.plugin import PluginConfig, parse_duration, parse_size
from p2pframe.sim.references import VariantName
from p2pframe.sim.results import (
    Aggregate,
    Judgement,
    RunResult,
    aggregate,
    groups,
    shown,
    value_names,
    variants_of,
)

_SHARE = re.compile(r"([-+]?\d+(?:\.\d+)?)\s*%\Z", re.ASCII)
_NAMES_SHOWN = 12


def _parse_number(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300:
        return float(value)
    if isinstance(value, str):
        if share := _SHARE.match(value.strip()):
            return float(share[1]) / 100
        for parse in (parse_duration, parse_size):
            try:
                return float(parse(value))
            except PydanticCustomError:
                continue
    raise PydanticCustomError(
        "number", "not a number: write one, or a duration (2s), a size (64KiB) or a share (95%) in quotes"
    )


Number = Annotated[
    float,
    BeforeValidator(_parse_number),
    WithJsonSchema({"type": ["number", "string"], "examples": [0.95, "2s", "64KiB", "95%"]}),
]
"""A number; in the YAML a duration (then seconds), a size (then bytes) or a share in percent as well."""

Variants = Annotated[tuple[VariantName, ...], Field(min_length=1)]


class Expectation(PluginConfig):
    """A value of every run, and the limits that it must keep; several limits are all kept."""

    value: str = Field(description="The name of the value, such as propagation.block.coverage.", min_length=1)
    at_least: Number | None = Field(None, description="The value is this or more.")
    at_most: Number | None = Field(None, description="The value is this or less.")
    between: tuple[Number, Number] | None = Field(
        None, description="The value lies between these two or is one of them."
    )
    equals: Number | None = Field(None, description="The value is this, to nine digits.")
    only: Variants | None = Field(None, description="The variants that are judged; all where this is left out.")
    except_: Variants | None = Field(None, alias="except", description="Variants that are not judged.")

    @model_validator(mode="after")
    def _says_something(self) -> Expectation:
        if self.at_least is None and self.at_most is None and self.between is None and self.equals is None:
            raise PydanticCustomError(
                "nothing_expected", "nothing is expected of the value: add at_least, at_most, between or equals"
            )
        if self.between is not None and self.between[0] > self.between[1]:
            raise PydanticCustomError("between", "no value lies between these: write the smaller one first")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise PydanticCustomError("between", "no value is at least the one and at most the other: swap them")
        if self.only is not None and self.except_ is not None:
            raise PydanticCustomError("only_and_except", "`only` already says which variants: take `except` away")
        return self

    def concerns(self, variant: str) -> bool:
        """Whether runs of this variant are judged."""
        if self.only is not None:
            return variant in self.only
        return self.except_ is None or variant not in self.except_

    def holds(self, measured: float) -> bool:
        """Whether a value is as expected; nan never is."""
        if math.isnan(measured):
            return False
        return (
            (self.at_least is None or measured >= self.at_least)
            and (self.at_most is None or measured <= self.at_most)
            and (self.between is None or self.between[0] <= measured <= self.between[1])
            and (self.equals is None or math.isclose(measured, self.equals, rel_tol=1e-9, abs_tol=1e-12))
        )

    @property
    def text(self) -> str:
        """`propagation.block.coverage is at least 1`."""
        limits = []
        if self.at_least is not None:
            limits.append(f"at least {shown(self.at_least)}")
        if self.at_most is not None:
            limits.append(f"at most {shown(self.at_most)}")
        if self.between is not None:
            limits.append(f"between {shown(self.between[0])} and {shown(self.between[1])}")
        if self.equals is not None:
            limits.append(shown(self.equals))
        return f"{self.value} is {' and '.join(limits)}"


class Comparison(PluginConfig):
    """A value's mean over the seeds in one variant (`of`), held against that in another (`to`)."""

    value: str = Field(description="The name of the value, such as eclipse.captured.", min_length=1)
    of: VariantName = Field(description="The variant that is compared.")
    to: VariantName = Field(description="The variant that it is compared to; `default` is the scenario as it stands.")
    ratio_at_least: Number | None = Field(None, description="The one's mean is this many times the other's or more.")
    ratio_at_most: Number | None = Field(None, description="The one's mean is this many times the other's or less.")
    difference_at_most: Number | None = Field(
        None, ge=0, description="How far the one's mean is from the other's at most, as a share of the other's: 10%."
    )
    intervals_apart: bool = Field(
        False, description="The 95% intervals of the two means (Student's t over the seeds) have no point in common."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Comparison:
        limits = (self.ratio_at_least, self.ratio_at_most, self.difference_at_most)
        if not self.intervals_apart and all(limit is None for limit in limits):
            raise PydanticCustomError(
                "nothing_expected",
                "nothing is compared: add ratio_at_least, ratio_at_most, difference_at_most or intervals_apart",
            )
        if self.of == self.to:
            raise PydanticCustomError("same_variant", "a variant is compared to itself: `of` and `to` are the same")
        return self


def judge(expectations: Sequence[Expectation], result: RunResult, where: Sequence[str] = ()) -> list[Judgement]:
    """Judge one run by the expectations that concern its variant.

    `where` says of each expectation where it stands in the scenario (file:line:column); it may be left out.
    """
    judgements = []
    for index, expectation in enumerate(expectations):
        if not expectation.concerns(result.variant):
            continue
        measured = result.values.get(expectation.value)
        text = expectation.text
        if measured is None:
            text += f": the run measured no {expectation.value!r}{_choice(expectation.value, [*result.values])}"
        ok = measured is not None and expectation.holds(measured)
        judgements.append(Judgement(text, ok, measured, _at(where, index)))
    return judgements


def compare(
    comparisons: Sequence[Comparison], results: Sequence[RunResult], where: Sequence[str] = ()
) -> list[Judgement]:
    """Judge a sweep, each of its settings by itself: a judgement for every limit of every comparison.

    A comparison fails where a variant was not run, or where any run of the two has no such value. `where` as for
    `judge`.
    """
    judgements = []
    settings = [*dict.fromkeys(group.settings for group in groups(results))] or [()]
    for index, comparison in enumerate(comparisons):
        for chosen in settings:
            runs = [result for result in results if tuple(result.settings.items()) == chosen]
            with_settings = "".join(f" {key}={value}" for key, value in chosen)
            for text, ok, measured in _compared(comparison, runs):
                judgements.append(Judgement(text + with_settings, ok, measured, _at(where, index)))
    return judgements


def _compared(comparison: Comparison, runs: Sequence[RunResult]) -> list[tuple[str, bool, float | None]]:
    """What each limit says, whether it is kept, and what was measured."""
    pair = f"{comparison.value}: {comparison.of} to {comparison.to}"
    sums: list[Aggregate] = []
    for variant in (comparison.of, comparison.to):
        own = [run for run in runs if run.variant == variant]
        if not own:
            return [(f"{pair}: no run of {variant!r}{_choice(variant, variants_of(runs))}", False, None)]
        without = [str(run.seed) for run in own if comparison.value not in run.values]
        if without:
            choice = _choice(comparison.value, value_names(own)) if len(without) == len(own) else ""
            seeds = ", ".join(without[:5]) + (", ..." if len(without) > 5 else "")
            return [(f"{pair}: {variant} measured no such value (seeds {seeds}){choice}", False, None)]
        sums.append(aggregate([run.values[comparison.value] for run in own]))
    of, to = sums
    pair += f" ({_summed(of)} to {_summed(to)})"
    found: list[tuple[str, bool, float | None]] = []
    ratio = _ratio(of.mean, to.mean)
    if comparison.ratio_at_least is not None:
        ok = ratio >= comparison.ratio_at_least
        found.append((f"{pair}: ratio at least {shown(comparison.ratio_at_least)}", ok, ratio))
    if comparison.ratio_at_most is not None:
        ok = ratio <= comparison.ratio_at_most
        found.append((f"{pair}: ratio at most {shown(comparison.ratio_at_most)}", ok, ratio))
    if comparison.difference_at_most is not None:
        # Both nothing is no difference; from nothing to something is an infinite one; of inf there is none (nan).
        apart = abs(of.mean - to.mean)
        difference = 0.0 if apart == 0 else _ratio(apart, abs(to.mean))
        ok = difference <= comparison.difference_at_most
        found.append((f"{pair}: difference at most {shown(comparison.difference_at_most)}", ok, difference))
    if comparison.intervals_apart:
        text = f"{pair}: 95% intervals apart"
        if of.interval is None or to.interval is None:
            found.append((f"{text}: there is no interval: run two seeds or more of each variant", False, None))
        else:
            gap = max(of.interval[0] - to.interval[1], to.interval[0] - of.interval[1])
            found.append((text, gap > 0, gap))
    return found


def _ratio(of: float, to: float) -> float:
    """nan, which keeps no limit, for nothing to nothing."""
    if to == 0:
        return math.nan if of == 0 or math.isnan(of) else math.copysign(math.inf, of)
    return of / to


def _summed(found: Aggregate) -> str:
    if found.interval is None:
        return shown(found.mean)
    return f"{shown(found.mean)} [{shown(found.interval[0])}, {shown(found.interval[1])}]"


def _choice(name: str, names: Sequence[str]) -> str:
    """The name that was meant, or those that are like it, or a few of all."""
    if nearest(name, names) is None:
        like = [other for other in names if other.split(".")[0] == name.split(".")[0]]
        names = sorted(like or names)
        more = len(names) - _NAMES_SHOWN
        names = [*names[:_NAMES_SHOWN], f"{more} more"] if more > 0 else names
    return did_you_mean(name, names)


def _at(where: Sequence[str], index: int) -> str:
    return where[index] if index < len(where) else ""
