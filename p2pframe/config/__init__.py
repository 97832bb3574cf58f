"""From YAML to checked objects: positions, every error at once, secrets kept out of sight."""

from p2pframe.config.loader import load
from p2pframe.config.settings import Limits, NetworkSpec, NodeSettings, NodeSpec, PluginChoice

__all__ = ["Limits", "NetworkSpec", "NodeSettings", "NodeSpec", "PluginChoice", "load"]
