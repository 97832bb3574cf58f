"""What the API says of bounds, and of who was turned away by them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from p2pframe.admin.routes import Closed


class Limit(Closed):
    """One bound of the configuration: the key that sets it, its value, and what came of it.

    `unit` is `bytes`, `seconds` or empty; `counter` the metric that counts what was turned away, and `label` the values
    of its labels that stand for this bound: bounds that are counted together all have the sum. `recent`: of these in
    the last five minutes, as far as the node has looked. `used` and `share` (of the value) are null where nobody knows;
    `near`: at least 80 % are used, and that is not how it should be.
    """

    network: str
    path: str
    value: str | int | float | bool | None
    unit: str
    where: str
    live: bool
    description: str
    counter: str
    label: list[str]
    turned_away: float
    recent: float
    used: float | None
    share: float | None
    near: bool


class Limits(Closed):
    """All of them: those that are near first, then those that turned something away lately."""

    limits: list[Limit]


class RefusedBy(Closed):
    """The bound that a refusal comes from, as it is now."""

    path: str
    value: str | int | float | bool | None
    unit: str
    live: bool
    counter: str
    label: list[str]
    turned_away: float


class Refusal(Closed):
    """Who was refused, ended or banned, by which rule, on what evidence.

    `what` is `refused`, `disconnect`, `discourage`, `ban` or `ended`; one may stand for `count` of them. `limits` are
    the bounds that the reason leads back to: several where it may have been any of them. `times` is how often it came
    to that since the start, by the counter of the first of them, else of refusals for that reason, or of that decision
    by that rule; null: nobody counts.
    """

    number: int
    time: float
    what: str
    network: str
    session: int | None
    address: str | None
    subject: str
    rule: str
    reason: str
    evidence: str
    count: int
    times: float | None
    limits: list[RefusedBy]


class Refusals(Closed):
    """The latest first; `next` is the cursor of those before."""

    refusals: list[Refusal]
    next: str | None


class RefusalsQuery(Closed):
    """Those before a cursor."""

    cursor: Annotated[str, StringConstraints(pattern=r"^\[(0|[1-9][0-9]{0,14})\]$")] | None = None
    limit: int = Field(100, ge=1, le=1000)
