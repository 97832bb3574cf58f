"""Whose models parse which section of a scenario: words that choose, and the models that check."""

from __future__ import annotations

from collections.abc import Mapping

from p2pframe.plugin import Field, PluginConfig
from p2pframe.sim.distributions import Times
from p2pframe.sim.references import GroupName


class FaultConfig(PluginConfig):
    """An entry of `timeline`."""

    at: Times = Field(description="When.")


class ChurnConfig(PluginConfig):
    """An entry of `churn`."""

    group: GroupName = Field(description="Whose hosts come and go.")
    up: Times = Field(description="How long a host stays.")
    down: Times = Field(description="How long it is away.")


class WorkloadConfig(PluginConfig):
    """An entry of `workload`."""

    produce: str = Field(description="The topic.")
    every: Times = Field(description="The time between two items.")
    from_: tuple[GroupName, ...] = Field((), alias="from", description="Groups whose hosts make them.")


FAULTS: Mapping[str, type[PluginConfig]] = {}
"""By the `do` of an entry of `timeline`."""
CHURN: type[PluginConfig] = ChurnConfig
WORKLOAD: type[PluginConfig] = WorkloadConfig
MEASURES: Mapping[str, type[PluginConfig]] = {}
"""By the name under `measures`."""
