"""Unix sockets for simulated hosts: a host's reactor, with paths that lead to TCP ports of the simulation."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.interfaces import IConnector, IListeningPort, IReactorUNIX
from zope.interface import alsoProvides, implementer, providedBy

from p2pframe.interfaces import IHostReactor

_NOBODY = 1
"""A port that nobody listens on: where a path leads that is no socket."""


class Paths:
    """The sockets that there are: which path is which port of which host."""

    def __init__(self) -> None:
        self.bound: dict[str, tuple[str, int]] = {}

    def reactor(self, inner: IHostReactor, address: str) -> IHostReactor:
        """A reactor for a host of that address: all that `inner` is, and IReactorUNIX."""
        made = UnixReactor(self, inner, address)
        alsoProvides(made, *providedBy(inner))
        return cast(IHostReactor, made)


@implementer(IReactorUNIX)
class UnixReactor:
    """A host's reactor with Unix sockets."""

    def __init__(self, paths: Paths, inner: IHostReactor, address: str) -> None:
        self._paths = paths
        self._inner: Any = inner
        self._address = address

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def connectUNIX(self, address: str, factory: Any, timeout: float = 30, checkPID: bool = False) -> IConnector:
        """See IReactorUNIX."""
        host, port = self._paths.bound.get(str(address), (self._address, _NOBODY))
        connector: IConnector = self._inner.connectTCP(host, port, factory, timeout)
        return connector

    def listenUNIX(
        self, address: str, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> IListeningPort:
        """See IReactorUNIX. A path that is taken goes to whoever came last only when the first has closed."""
        taken = self._paths.bound.get(str(address))
        port: IListeningPort = self._inner.listenTCP(taken[1] if taken else 0, factory, backlog, self._address)
        self._paths.bound[str(address)] = (self._address, cast(Any, port.getHost()).port)
        return port
