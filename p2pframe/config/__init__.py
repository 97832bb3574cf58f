"""From YAML to checked objects: positions, every error at once, secrets kept out of sight."""

from p2pframe.config.changes import Change, Changes, Effect, Part, diff
from p2pframe.config.loader import load
from p2pframe.config.settings import Limits, NetworkSpec, NodeSettings, NodeSpec, PluginChoice

__all__ = [
    "Change", "Changes", "Effect", "Limits", "NetworkSpec", "NodeSettings", "NodeSpec", "Part", "PluginChoice", "diff",
    "load",
]  # fmt: skip
