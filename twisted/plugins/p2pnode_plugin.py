"""Tells twistd that `p2pnode` exists and which module makes it: importing that module waits until it is named."""

from twisted.application.service import ServiceMaker

p2pnode = ServiceMaker("p2pnode", "p2pframe.tap", "A peer-to-peer node, put together by a YAML file.", "p2pnode")
