"""What `admin` can be told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import field_validator, model_validator
from pydantic_core import PydanticCustomError

from p2pframe.endpoints import ListenAddress
from p2pframe.model import PeerAddress
from p2pframe.plugin import Duration, Field, PluginConfig, Size, bound

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,252}[a-z0-9])?(:\d{1,5})?\Z|\[[0-9a-f:.]+\](:\d{1,5})?\Z")
_LOOPBACK = ("127.0.0.1", "::1")


class TokenConfig(PluginConfig):
    """A token for a script."""

    name: str = Field(min_length=1, max_length=64, description="What the audit log calls it.")
    role: Literal["viewer", "operator"] = Field(description="What it may do: look, or change as well.")
    file: Path = Field(description="Where it is: a file of 20 to 500 characters that nobody else may read (0600).")


class AdminConfig(PluginConfig):
    """Options of the `admin` application."""

    listen: ListenAddress = Field(
        PeerAddress("127.0.0.1", 8600), description="Where it is served. Anything but the loopback takes `certificate`."
    )
    hosts: list[str] = Field(
        [], description="Further names that it may be called by, with the port where it is another: node.example:8600."
    )
    certificate: Path | None = Field(None, description="PEM file with the certificate chain, for TLS.")
    private_key: Path | None = Field(None, description="PEM file with its private key (0600).")
    tokens: list[TokenConfig] = Field([], description="Tokens for scripts and Prometheus.")
    password_file: Path | None = Field(
        None,
        description="Where the hash of a password to log in with is, as `p2pframe admin password` writes it (0600); "
        "none: only codes are taken.",
    )
    password_checks: int = bound(
        2,
        ge=1,
        description="Passwords checked at once; each takes 64 MB for a moment.",
        counter="admin_turned_away",
        label="password_checks",
    )
    sessions: int = bound(
        100,
        ge=1,
        description="Log-ins at once; with more the one that was idle longest ends.",
        counter="admin_turned_away",
        label="sessions",
        live=False,
    )
    idle: Duration = bound(
        12 * 3600.0, ge=60, description="A log-in ends that was not used for so long.", counter="", live=False
    )
    life: Duration = bound(
        7 * 86_400.0, ge=60, description="A log-in ends after so long, used or not.", counter="", live=False
    )
    tries: int = bound(
        10,
        ge=1,
        description="Log-ins that one address may try at once; ten times as many of all.",
        counter="admin_turned_away",
        label="tries",
        live=False,
    )
    pause: Duration = bound(
        6.0, gt=0, description="Until it may try once more.", counter="admin_turned_away", label="tries", live=False
    )
    captures: int = bound(
        5, ge=1, description="Sessions captured at once.", counter="admin_turned_away", label="captures"
    )
    capture_largest: Size = bound(
        20_000_000,
        ge=10_000,
        description="Bytes of a capture's file; then it goes on in a next one.",
        counter="admin_turned_away",
        label="capture_largest",
    )
    capture_parts: int = bound(
        5,
        ge=1,
        description="Files of one capture; then its oldest makes room.",
        counter="admin_turned_away",
        label="capture_parts",
        fills=True,
    )
    capture_quota: Size = bound(
        200_000_000,
        ge=1000,
        description="Bytes of all captures; then none is begun, and one goes on only in place of its older files.",
        counter="admin_turned_away",
        label="capture_quota",
    )
    capture_files: int = bound(
        1_000,
        ge=1,
        description="Captures on disk; then none is begun.",
        counter="admin_turned_away",
        label="capture_files",
    )
    inspections: int = bound(
        3, ge=1, description="Sessions inspected at once.", counter="admin_turned_away", label="inspections"
    )
    inspected_messages: int = bound(
        500,
        ge=1,
        description="Latest messages kept of an inspected session.",
        counter="admin_turned_away",
        label="inspected_messages",
        fills=True,
    )
    inspected_bytes: Size = bound(
        10_000_000,
        ge=1000,
        description="Memory for those of one session, about.",
        counter="admin_turned_away",
        label="inspected_bytes",
        fills=True,
    )
    inspection_idle: Duration = bound(
        300.0, ge=1, description="After which an inspection ends that nobody looks at.", counter=""
    )
    streams: int = bound(
        20, ge=1, description="Event streams (open pages) at once.", counter="admin_turned_away", label="streams"
    )
    # Five open pages refresh themselves five times a second at most, and `p2pframe top` at its fastest asks 15 times: a
    # log-in that does both has room. Below 1, or 20 at once, the page and the commands that change it back had none.
    requests_per_second: float = bound(
        20.0,
        ge=1,
        description="Requests a second of each log-in (a session, or a token); more are answered 429, try again.",
        counter="admin_turned_away",
        label="requests",
    )
    request_burst: int = bound(
        200,
        ge=20,
        description="Requests that it may make at once.",
        counter="admin_turned_away",
        label="requests",
    )
    refresh_share: float = bound(
        0.01,
        gt=0,
        le=1,
        description="Share of a CPU that the open pages of each role may take to refresh themselves.",
        counter="admin_requests",
        label=("refresh", "kept"),
    )
    connections: int = bound(
        200,
        ge=1,
        description="Connections at once.",
        counter="admin_requests",
        label=("connection", "connections"),
        live=False,
    )
    largest_body: Size = bound(
        1_000_000,
        ge=1000,
        description="Bytes of a request's body.",
        counter="admin_requests",
        label=("request", "413"),
        live=False,
    )
    request_timeout: Duration = bound(
        20.0,
        gt=0,
        description="Within which a request has to have come whole.",
        counter="admin_requests",
        label=("connection", "slow"),
        live=False,
    )
    idle_timeout: Duration = bound(
        60.0, gt=0, description="After which an unused connection is ended.", counter="", live=False
    )

    @field_validator("hosts")
    @classmethod
    def _names(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            if not _HOST.match(host.lower()):
                raise PydanticCustomError("host", "a host is a name or an address, with :port where it has another")
        return [host.lower() for host in hosts]

    @model_validator(mode="after")
    def _closed_to_strangers(self) -> Self:
        if (self.certificate is None) != (self.private_key is None):
            raise PydanticCustomError("tls", "certificate and private_key go together")
        if self.listen.host not in _LOOPBACK and self.certificate is None:
            raise PydanticCustomError(
                "plain", "listen: anything but the loopback takes TLS: set certificate and private_key"
            )
        if self.listen.ip is not None and self.listen.ip.is_unspecified and not self.hosts:
            raise PydanticCustomError(
                "hosts", "listen: who listens at every address says in `hosts` by which names it is called"
            )
        if len({token.name for token in self.tokens}) < len(self.tokens):
            raise PydanticCustomError("tokens", "tokens: two have the same name")
        return self
