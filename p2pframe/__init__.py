"""A peer-to-peer node as a Twisted service, put together from plugins by one YAML file.

`p2pframe.interfaces` is the whole contract on one page; docs/architecture.md says how the parts fit together.
"""

__version__ = "0.1.0"
