"""The node's counters and gauges: plain numbers, which prometheus_client turns into text when someone asks for it.

prometheus_client's own `Counter` takes a lock at each increment and its import costs more than the rest of a start;
here it is imported at the first exposition, where a custom collector hands it what was counted. Names get the prefix
`p2pframe_` and a label `network`; networks that count by the same name share one metric.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from p2pframe.errors import PluginError
from p2pframe.interfaces.context import Counter, Gauge, Metrics

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import CollectorRegistry

PREFIX = "p2pframe_"
OTHER = "other"
"""The label value that stands for all those beyond the bound."""
SERIES = 256
"""Sets of label values that one metric of one network keeps apart.

Label values that a peer could choose end up in `other`.
"""
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")

Labels = tuple[str, ...]


class _Series:
    """One metric of one network: the numbers by label values. It is the Counter or Gauge that plugins hold."""

    __slots__ = ("_metric", "values")

    def __init__(self, metric: _Metric) -> None:
        self._metric = metric
        self.values: dict[Labels, float] = {} if metric.labels else {(): 0}

    def add(self, amount: float = 1, *labels: str) -> None:
        try:
            self.values[labels] += amount
        except KeyError:
            key = self._key(labels)
            self.values[key] = self.values.get(key, 0) + amount

    def set(self, value: float, *labels: str) -> None:
        if labels not in self.values:
            labels = self._key(labels)
        self.values[labels] = value

    def _key(self, labels: Labels) -> Labels:
        metric = self._metric
        if len(labels) != len(metric.labels):
            raise ValueError(f"metric {metric.name} has the labels {metric.labels}, {metric.owner} gave {labels}")
        if len(self.values) < SERIES:
            return labels
        metric.folded += 1
        return (OTHER,) * len(labels)


class _Metric:
    """A name, what it means, and its numbers in each network."""

    __slots__ = ("folded", "help", "kind", "labels", "name", "networks", "owner")

    def __init__(self, kind: str, name: str, help: str, labels: Labels, owner: str) -> None:
        self.kind = kind
        self.name = name
        self.help = help
        self.labels = labels
        self.owner = owner
        self.networks: dict[str, _Series] = {}
        self.folded = 0


class NodeMetrics:
    """All metrics of a node. `view` gives each plugin its own way in; the rest is for those who show them."""

    def __init__(self) -> None:
        self._metrics: dict[str, _Metric] = {}
        self.before_reading: Callable[[], None] = lambda: None
        """Called before numbers are read: for what is only summed then."""
        self._registry: CollectorRegistry | None = None

    def view(self, network: str, owner: str) -> Metrics:
        """What `context.metrics` is, for the plugin `owner` of `network` (empty for the node's own)."""
        return MetricsView(self, network, owner)

    def series(self, kind: str, name: str, help: str, labels: Sequence[str], network: str, owner: str) -> _Series:
        """The numbers of one metric in one network, made at the first asking.

        Raises `PluginError` for a bad name, or one that was taken for another kind or other labels.
        """
        names = tuple(labels)
        # The exposition adds `_total` to counters by itself.
        bare = name.removesuffix("_total") if kind == "counter" else name
        metric = self._metrics.get(bare)
        if metric is None:
            for word in (bare, *names):
                if not _NAME.match(word) or word == "network":
                    raise PluginError(
                        f"{owner}: {word!r} can't name a metric or label: use lower-case words joined by _"
                    )
            metric = self._metrics[bare] = _Metric(kind, bare, help, names, owner)
        elif metric.kind != kind or metric.labels != names:
            raise PluginError(
                f"{owner}: metric {bare} is already a {metric.kind} of {metric.owner} with the labels {metric.labels}"
                f" and can't be a {kind} with {names}"
            )
        series = metric.networks.get(network)
        if series is None:
            series = metric.networks[network] = _Series(metric)
        return series

    def snapshot(self) -> Mapping[str, Mapping[tuple[str, ...], float]]:
        """Every number: by metric name (as in the exposition), then by (network, label values...)."""
        self.before_reading()
        return {
            PREFIX + name + ("_total" if metric.kind == "counter" else ""): {
                (network, *labels): value
                for network, series in metric.networks.items()
                for labels, value in series.values.items()
            }
            for name, metric in self._metrics.items()
        }

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """What prometheus_client calls at an exposition."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        self.before_reading()
        for name, metric in sorted(self._metrics.items()):
            family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            shown = family(PREFIX + name, metric.help, labels=("network", *metric.labels))
            for network, series in metric.networks.items():
                for labels, value in series.values.items():
                    shown.add_metric((network, *labels), value)
            yield shown
        folded = CounterMetricFamily(
            PREFIX + "metric_labels_folded", "Label values beyond the bound, counted as other.", labels=("metric",)
        )
        for name, metric in sorted(self._metrics.items()):
            if metric.folded:
                folded.add_metric((name,), metric.folded)
        yield folded

    @property
    def registry(self) -> CollectorRegistry:
        """A registry of this node's own, never prometheus_client's global one: two nodes of one process stay apart."""
        if self._registry is None:
            from prometheus_client.registry import CollectorRegistry

            self._registry = CollectorRegistry(auto_describe=False)
            self._registry.register(self)
        return self._registry

    def exposition(self) -> bytes:
        """The text format that Prometheus scrapes (version 0.0.4)."""
        from prometheus_client.exposition import generate_latest

        return generate_latest(self.registry)


class MetricsView:
    """The `Metrics` of one plugin in one network."""

    __slots__ = ("_network", "_node", "_owner")

    def __init__(self, node: NodeMetrics, network: str, owner: str) -> None:
        self._node = node
        self._network = network
        self._owner = owner

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Counter:
        return self._node.series("counter", name, help, labels, self._network, self._owner)

    def gauge(self, name: str, help: str, labels: Sequence[str] = ()) -> Gauge:
        return self._node.series("gauge", name, help, labels, self._network, self._owner)
