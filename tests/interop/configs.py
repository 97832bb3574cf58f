"""The configurations that the same tests run under: each is one YAML file, and nothing else differs."""

from __future__ import annotations

from typing import Any

NETWORK: dict[str, Any] = {
    "protocol": {"plugin": "bitcoin", "chain": "regtest"},
    "transports": [{"plugin": "tcp", "listen": ["127.0.0.1:{port}"]}],
}
"""The least that a network needs; `{port}` becomes a free one."""

PLUGINS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "flood": {"relay": {"plugin": "flood"}},
    "inventory": {"relay": {"plugin": "inventory", "inbound_interval": "200ms", "outbound_interval": "200ms"}},
    "weighted": {"scoring": [{"plugin": "weighted"}]},
    "behaviour": {"scoring": [{"plugin": "behaviour"}]},
    "behaviour-dry-run": {"scoring": [{"plugin": "behaviour", "dry_run": True}]},
    "all-dry-run": {"scoring": [{"plugin": "weighted", "dry_run": True}, {"plugin": "behaviour", "dry_run": True}]},
    "no-scorers": {"scoring": []},
}
"""What is swapped, by the name of the test's case: keys of the network in place of the defaults."""

QUICK = {"relay": {"plugin": "inventory", "inbound_interval": "200ms", "outbound_interval": "200ms"}}
"""The default policy with less of a wait, for what is not about it."""


def node(changes: dict[str, Any] | None = None, storage: str = "sqlite", **node: Any) -> dict[str, Any]:
    """A whole configuration with one network, `bitcoin`."""
    return {"node": node, "storage": {"plugin": storage}, "networks": {"bitcoin": NETWORK | (changes or {})}}
