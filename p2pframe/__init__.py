"""p2pframe: a peer-to-peer node as a Twisted service, put together from plugins by one YAML file."""
