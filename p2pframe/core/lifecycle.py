"""The life of a session: connecting, handshaking, open, closing, closed. Drawn once here, used only at these changes.

    connecting --proved--> handshaking --opened--> open
        |                      |                    |
        +------- ending -------+------- ending -----+--> closing --lost--> closed
        +-------- lost --------+-------- lost ------+---------------------> closed

Everything that can happen twice (an end that is asked for while ending) is a loop without effect, so that callers
need not ask first.
"""

from __future__ import annotations

from typing import Protocol

from automat import TypeMachineBuilder


class Hooks(Protocol):
    """What a session does at the changes."""

    def enter(self, state: str) -> None:
        """Called with the name of every state that is entered."""

    def begin_handshake(self) -> None:
        """The wire is proved: let the conversation start."""

    def announce_open(self) -> None:
        """The handshake is complete: claim links and tell the network."""

    def begin_close(self) -> None:
        """Send what is queued, then hang up."""

    def finish(self) -> None:
        """The wire is gone: tell everyone, once."""


class Lifecycle(Protocol):
    """What can happen to a session."""

    def proved(self) -> None:
        """Transport and upgrades accepted the other end."""

    def opened(self) -> None:
        """The protocol's handshake is complete."""

    def ending(self) -> None:
        """Somebody asked for the end."""

    def lost(self) -> None:
        """The wire is gone."""


def _build() -> TypeMachineBuilder[Lifecycle, Hooks]:
    machine = TypeMachineBuilder(Lifecycle, Hooks)  # type: ignore[type-abstract]  # a Protocol is what it wants
    connecting = machine.state("connecting")
    handshaking = machine.state("handshaking")
    is_open = machine.state("open")
    closing = machine.state("closing")
    closed = machine.state("closed")

    @connecting.upon(Lifecycle.proved).to(handshaking)
    def start(life: Lifecycle, hooks: Hooks) -> None:
        hooks.enter("handshaking")
        hooks.begin_handshake()

    @handshaking.upon(Lifecycle.opened).to(is_open)
    def complete(life: Lifecycle, hooks: Hooks) -> None:
        hooks.enter("open")
        hooks.announce_open()

    def begin_close(life: Lifecycle, hooks: Hooks) -> None:
        hooks.enter("closing")
        hooks.begin_close()

    def finish(life: Lifecycle, hooks: Hooks) -> None:
        hooks.enter("closed")
        hooks.finish()

    for state in (connecting, handshaking, is_open):
        state.upon(Lifecycle.ending).to(closing)(begin_close)
        state.upon(Lifecycle.lost).to(closed)(finish)
    closing.upon(Lifecycle.lost).to(closed)(finish)

    def nothing(life: Lifecycle, hooks: Hooks) -> None:
        return None

    for state in (closing, closed):
        state.upon(Lifecycle.ending).loop()(nothing)
        state.upon(Lifecycle.proved).loop()(nothing)
        state.upon(Lifecycle.opened).loop()(nothing)
    closed.upon(Lifecycle.lost).loop()(nothing)
    is_open.upon(Lifecycle.opened).loop()(nothing)
    return machine


new_lifecycle = _build().build()
"""Make the machine of one session: `new_lifecycle(hooks)`."""
