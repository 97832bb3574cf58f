"""Whose models parse which section of a scenario: words that choose, and the models that check."""

from __future__ import annotations

from collections.abc import Mapping

from p2pframe.plugin import PluginConfig
from p2pframe.sim import faults, measures, workload

FAULTS: Mapping[str, type[PluginConfig]] = faults.FAULTS
"""By the `do` of an entry of `timeline`."""
CHURN: type[PluginConfig] = faults.ChurnConfig
WORKLOAD: type[PluginConfig] = workload.WorkloadConfig
MEASURES: Mapping[str, type[PluginConfig]] = {name: measure.config for name, measure in measures.MEASURES.items()}
"""By the name under `measures`."""
