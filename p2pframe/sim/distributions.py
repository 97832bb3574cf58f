"""Quantities that chance draws: a plain value in the YAML, or the name of a distribution with its parameters.

::

    latency: 50ms
    latency: {lognormal: {median: 90ms, p99: 200ms}, most: 1s}

`Times` are lengths of time, never below zero; `Offsets` are times of either sign; `Numbers` are plain numbers. Each
draw takes its chance from the `Random` that it is given, so that whoever owns that stream alone decides what comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import log
from random import Random
from typing import Annotated, Generic, TypeAlias, TypeVar

from pydantic import (
    BeforeValidator,
    GetJsonSchemaHandler,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from p2pframe.plugin import Duration, Field, PluginConfig, parse_duration

V = TypeVar("V", bound=float)
Sampler: TypeAlias = Callable[[Random], float]
"""Draws one value from the chance that it is given."""

_Z99 = 2.3263478740408408
"""The 99th percentile of the standard normal distribution."""


def _offset(value: object) -> float:
    if isinstance(value, str) and value.strip().startswith("-"):
        return -parse_duration(value.strip()[1:])
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value < 0:
        return -parse_duration(-value)
    return parse_duration(value)


def _within(value: float, least: float, most: float) -> float:
    return least if value < least else most if value > most else value


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A finite number."""

Offset = Annotated[
    float,
    BeforeValidator(_offset),
    WithJsonSchema(
        {"type": ["string", "number"], "pattern": r"^-?\d+(\.\d+)?\s*(ms|s|min|m|h|d|w)?$", "examples": ["-2s"]}
    ),
]
"""Seconds of either sign: `-250ms`, `2s`."""


class _Shape(PluginConfig, Generic[V]):
    """The parameters of one distribution."""

    def sampler(self) -> Sampler:
        """What draws from it."""
        raise NotImplementedError


class Uniform(_Shape[V], Generic[V]):
    """Any value between two, each as likely."""

    low: V = Field(description="The least value.")
    high: V = Field(description="The greatest value.")

    @model_validator(mode="after")
    def _ordered(self) -> Uniform[V]:
        if self.low > self.high:
            raise PydanticCustomError("order", "low is above high")
        return self

    def sampler(self) -> Sampler:
        """See `_Shape.sampler`."""
        low, width = self.low, self.high - self.low
        return lambda rng: low + width * rng.random()


class Normal(_Shape[V], Generic[V]):
    """The bell curve."""

    mean: V = Field(description="The middle of the curve.")
    deviation: V = Field(description="The standard deviation.", ge=0)

    def sampler(self) -> Sampler:
        """See `_Shape.sampler`."""
        mean, deviation = self.mean, self.deviation
        return lambda rng: rng.normalvariate(mean, deviation)


class LogNormal(_Shape[V], Generic[V]):
    """Skewed, with a tail of high values, as round trips on the Internet are."""

    median: V = Field(description="Half of the values are below this.", gt=0)
    p99: V = Field(description="99 in 100 values are below this.", gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> LogNormal[V]:
        if self.p99 < self.median:
            raise PydanticCustomError("order", "p99 is below the median")
        return self

    def sampler(self) -> Sampler:
        """See `_Shape.sampler`."""
        mu = log(self.median)
        sigma = (log(self.p99) - mu) / _Z99
        return lambda rng: rng.lognormvariate(mu, sigma)


class Exponential(_Shape[V], Generic[V]):
    """The time between events that know nothing of each other."""

    mean: V = Field(description="The mean.", gt=0)

    def sampler(self) -> Sampler:
        """See `_Shape.sampler`."""
        rate = 1.0 / self.mean
        return lambda rng: rng.expovariate(rate)


class Pareto(_Shape[V], Generic[V]):
    """Few values far above the rest: the smaller the shape, the heavier the tail."""

    minimum: V = Field(description="The least value.", gt=0)
    shape: Number = Field(description="The tail index; the mean is finite above 1.", gt=0)

    def sampler(self) -> Sampler:
        """See `_Shape.sampler`."""
        minimum, shape = self.minimum, self.shape
        return lambda rng: minimum * rng.paretovariate(shape)


class Weibull(_Shape[V], Generic[V]):
    """Lifetimes: below shape 1 whoever has stayed long stays longer, as measured of peers' sessions."""

    scale: V = Field(description="63% of the values are below this.", gt=0)
    shape: Number = Field(description="Below 1 a heavy tail, at 1 exponential.", gt=0)

    def sampler(self) -> Sampler:
        """See `_Shape.sampler`."""
        scale, shape = self.scale, self.shape
        return lambda rng: rng.weibullvariate(scale, shape)


SHAPES = ("fixed", "uniform", "normal", "lognormal", "exponential", "pareto", "weibull")
"""The keys of which a distribution has exactly one."""


class Distribution(PluginConfig, Generic[V]):
    """One of the shapes, and bounds that what it draws is moved to."""

    fixed: V | None = Field(default=None, description="Always this value.")
    uniform: Uniform[V] | None = Field(default=None, description="Any value between two.")
    normal: Normal[V] | None = Field(default=None, description="The bell curve.")
    lognormal: LogNormal[V] | None = Field(default=None, description="Skewed, by median and 99th percentile.")
    exponential: Exponential[V] | None = Field(default=None, description="Times between independent events.")
    pareto: Pareto[V] | None = Field(default=None, description="A heavy tail above a minimum.")
    weibull: Weibull[V] | None = Field(default=None, description="Lifetimes.")
    least: V | None = Field(default=None, description="What is drawn below this becomes this.")
    most: V | None = Field(default=None, description="What is drawn above this becomes this.")

    _sampler: Sampler = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        return value if isinstance(value, (Mapping, Distribution)) else {"fixed": value}

    @model_validator(mode="after")
    def _one_shape(self) -> Distribution[V]:
        chosen = [name for name in SHAPES if getattr(self, name) is not None]
        if len(chosen) != 1:
            raise PydanticCustomError(
                "distribution",
                "has {found}: give one of {shapes}",
                {"found": " and ".join(chosen) or "no distribution", "shapes": ", ".join(SHAPES)},
            )
        if self.least is not None and self.most is not None and self.least > self.most:
            raise PydanticCustomError("order", "least is above most")
        self._sampler = self._made(getattr(self, chosen[0]))
        return self

    def _made(self, chosen: float | _Shape[V]) -> Sampler:
        least, most = self._bounds()
        if not isinstance(chosen, _Shape):
            value = _within(chosen, least, most)
            return lambda rng: value
        inner = chosen.sampler()
        if least == float("-inf") and most == float("inf"):
            return inner
        return lambda rng: _within(inner(rng), least, most)

    def _bounds(self) -> tuple[float, float]:
        least = float("-inf") if self.least is None else self.least
        return least, float("inf") if self.most is None else self.most

    @property
    def constant(self) -> float | None:
        """The value where chance has no part in it, else None."""
        if self.fixed is None:
            return None
        return _within(self.fixed, *self._bounds())

    @property
    def sampler(self) -> Sampler:
        """`draw` without the attribute look-up, for who draws often."""
        return self._sampler

    def draw(self, rng: Random) -> float:
        """One value; for `Times` and `Offsets` in seconds."""
        return self._sampler(rng)

    @model_serializer(mode="wrap")
    def _short(self, handler: SerializerFunctionWrapHandler) -> object:
        made = {key: value for key, value in handler(self).items() if value is not None}
        return made["fixed"] if list(made) == ["fixed"] else made

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        made = handler.resolve_ref_schema(handler(core))
        plain = next(one for one in made["properties"]["fixed"]["anyOf"] if one.get("type") != "null")
        return {"anyOf": [plain, made], "title": cls.__name__, "description": (cls.__doc__ or "").split("\n", 1)[0]}


class Times(Distribution[Duration]):
    """A length of time: a plain duration, or a distribution of durations. What is drawn is seconds, 0 or more."""

    def _bounds(self) -> tuple[float, float]:
        least, most = super()._bounds()
        return max(least, 0.0), most


class Offsets(Distribution[Offset]):
    """A time of either sign: a plain duration with or without a minus, or a distribution of such. Seconds."""


class Numbers(Distribution[Number]):
    """A number: a plain one, or a distribution of numbers."""
