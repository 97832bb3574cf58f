"""What the API answers and takes: closed models, of which OpenAPI's schemas are made. Times are unix seconds, ages
and round trips seconds, sizes bytes."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from p2pframe.admin.routes import Closed
from p2pframe.admin.values_limits import Limit

LONGEST_BAN = 1e9
"""Seconds that a ban lasts at most."""
LONGEST_CAPTURE = 86_400
"""Seconds that a capture is asked for at most."""
Short = Annotated[str, StringConstraints(max_length=200)]
Cursor = Annotated[str, StringConstraints(pattern=r"^\[(0|[1-9][0-9]{0,14})\]$")]
PeersCursor = Annotated[str, StringConstraints(pattern=r'^\["[a-z0-9-]{1,63}",(0|[1-9][0-9]{0,14})\]$')]


def _left_out(schema: dict[str, Any]) -> None:
    # One that is left out has no value, the empty one neither.
    schema.pop("default", None)


class LogIn(Closed):
    """The code of `p2pframe admin link`, or the password: one of the two."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["code"]}, {"required": ["password"]}]})

    code: str = Field("", min_length=1, max_length=200, json_schema_extra=_left_out)
    password: str = Field("", min_length=1, max_length=1000, json_schema_extra=_left_out)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise PydanticCustomError("one", "give either code or password")
        return self


class LoggedIn(Closed):
    """What a page needs to ask for changes."""

    role: str
    csrf: str


class SlotUse(Closed):
    """How many of a class of slots are used."""

    used: int
    allowed: int


class Source(Closed):
    """A discovery or a group of peers: what it found and how it does. `next_try` in seconds, 0 where nothing failed.

    `new` of the `found` addresses were new; `failed` of its `looks` came to nothing; `last_success` is 0 for never.
    """

    name: str
    found: int
    new: int
    failures: int
    error: str
    next_try: float
    held: int
    tried: int
    last_success: float
    looks: int
    failed: int


class Network(Closed):
    """One network at a glance. `status` comes from its protocol; rates are of bytes a second."""

    name: str
    protocol: str
    listening: list[str]
    slots: dict[str, SlotUse]
    addresses: dict[str, int]
    status: dict[str, str | int | float | bool]
    messages: dict[str, tuple[int, int]]
    rate_in: float = 0.0
    rate_out: float = 0.0
    sources: list[Source]


class Alert(Closed):
    """Something to look at, and what to do about it; a critical one makes the node unhealthy.

    `since`: for how many seconds it has held, as far as the node has looked.
    """

    name: str
    critical: bool
    network: str
    text: str
    runbook: str
    since: float


class PastAlert(Closed):
    """An alert that held from `began` to `ended`, as it was last said."""

    name: str
    critical: bool
    network: str
    text: str
    runbook: str
    began: float
    ended: float


class Alerts(Closed):
    """The alerts that hold, critical ones first; and the latest of those that held, the last to end first."""

    alerts: list[Alert]
    past: list[PastAlert]


class Card(Closed):
    """What a plugin adds to the overview: named values; `error` says where it could not."""

    title: str
    plugin: str
    values: dict[str, str | int | float | bool | None]
    error: str


class Node(Closed):
    """The node at a glance; `reasons` say in words why it is not healthy, `near` has the limits near their bound.

    `lag` is how late the reactor was at worst in the last minute, in seconds; null where nobody watches it.
    """

    version: str
    now: float
    uptime: float
    lag: float | None = None
    healthy: bool
    reasons: list[str]
    alerts: list[Alert]
    networks: list[Network]
    cards: list[Card]
    near: list[Limit]


class Peer(Closed):
    """A session. `age` since it began; `quiet` since it last sent, `sent` since this node did.

    `useless` since it last brought something useful other than a block, `block` a block, `last_useful` either; null
    where it never has. Rates are of bytes a second, `message_rate_` ones of messages, averaged over some 15 seconds.
    `errors` are its mistakes: items refused, and facts that end a session. `useful` counts what it was the first to
    bring.
    """

    network: str
    id: int
    address: str
    netgroup: str
    slot: str
    inbound: bool
    state: str
    transport: str
    encryption: str
    agent: str
    version: int | None
    services: list[str]
    age: float
    quiet: float
    sent: float | None
    useless: float | None
    block: float | None
    ping: float | None
    best_ping: float | None
    bytes_in: int
    bytes_out: int
    messages_in: dict[str, int]
    messages_out: dict[str, int]
    accepted_items: int
    rejected_items: int
    timeouts: int
    send_queue: int
    score: float | None
    protected: bool
    rate_in: float = 0.0
    rate_out: float = 0.0
    message_rate_in: float
    message_rate_out: float
    errors: int
    useful: int
    last_useful: float | None


class Peers(Closed):
    """A page of sessions; `next` is the cursor of the next one."""

    peers: list[Peer]
    next: str | None


class PeersQuery(Closed):
    """Which sessions, and from where on."""

    network: Short | None = None
    cursor: PeersCursor | None = None
    limit: int = Field(100, ge=1, le=1000)


class Reason(Closed):
    """Why something is done: it is in the audit log, and in the log."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)]


class Protect(Closed):
    """Whether a session is never evicted."""

    protected: bool


class Capture(Closed):
    """For how many seconds a session's messages are written down."""

    seconds: float = Field(gt=0, le=LONGEST_CAPTURE)


class Captured(Closed):
    """A capture on disk. `running`: it is being written, of the session `session` in `network`."""

    name: str
    size: int
    running: bool
    began: float
    network: str
    session: int | None


class CaptureName(Closed):
    """The file that was begun."""

    name: str


class Captures(Closed):
    """All that there are, the latest last."""

    captures: list[Captured]


class Connect(Closed):
    """Whom to dial."""

    network: Short
    address: Short


class Connected(Closed):
    """The session that came of it."""

    network: str
    id: int


class Ban(Closed):
    """Who is kept out: an address, a network (`192.0.2.0/24`) or `id:` and hex; `scope` is a network's name or node."""

    subject: Short
    duration: float = Field(gt=0, le=LONGEST_BAN)
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    scope: Short = "node"


class Unban(Closed):
    """Whom to let in again."""

    subject: Short
    scope: Short = "node"


class Penalty(Closed):
    """A ban or a discouragement, with why."""

    subject: str
    scope: str
    action: str
    rule: str
    reason: str
    evidence: str
    since: float
    until: float
    automatic: bool


class BansQuery(Closed):
    """From where on, and how many."""

    cursor: Cursor | None = None
    limit: int = Field(100, ge=1, le=1000)


class Penalties(Closed):
    """Those in force, bans first, the latest of each scope and kind first; `next` is the cursor of the next page."""

    penalties: list[Penalty]
    next: str | None


class Happened(Closed):
    """An event."""

    number: int
    time: float
    kind: str
    network: str
    session: int | None
    address: str | None
    fields: dict[str, object]


class Events(Closed):
    """Events, oldest first."""

    events: list[Happened]
    next: str | None


class EventsQuery(Closed):
    """Those after a number."""

    cursor: Cursor | None = None
    limit: int = Field(100, ge=1, le=1000)


class StreamQuery(Closed):
    """Where to go on: the number of the last event seen; a Last-Event-ID header says the same."""

    after: int | None = Field(None, ge=0)


Plain = str | int | float | bool | None


class Setting(Closed):
    """A value of the configuration in force: `where` it comes from; `live` ones can be changed here.

    For the others `takes` says what a change of the file takes: `reload`, or a restart of the `network`, of the
    `applications`, of the `node`.
    """

    path: str
    value: Plain
    where: str
    live: bool
    takes: str = ""


class Plugin(Closed):
    """A plugin of a network (empty: of the node), where it comes from, and how many exceptions came out of it."""

    network: str
    label: str
    summary: str
    origin: str
    errors: int


class Plugins(Closed):
    """All that run."""

    plugins: list[Plugin]


class Config(Closed):
    """The configuration in force, secrets as `***`: as a whole, and value by value.

    `changed` is what was set here, over what the file says.
    """

    config: dict[str, object]
    settings: list[Setting]
    changed: dict[str, Plain]


class PageName(Closed):
    """A page that a plugin has."""

    name: str
    title: str
    plugin: str


class PluginPages(Closed):
    """All of them."""

    pages: list[PageName]


class PageTable(Closed):
    """A table; without columns only its text."""

    title: str
    text: str
    columns: list[str]
    rows: list[list[Plain]]


class PluginPage(Closed):
    """What is on a plugin's page now."""

    title: str
    plugin: str
    tables: list[PageTable]


class Change(Closed):
    """All live values that are to be set over what the file says, by dotted path: those left out are taken back.

    With `based_on`, what was set when they were made (`changed` of the configuration), it is refused where that is no
    longer what is set.
    """

    values: dict[Short, str | int | float | bool] = Field(max_length=500)
    based_on: dict[Short, str | int | float | bool] | None = Field(None, max_length=500)


class Changed(Closed):
    """What has changed, or would, in words."""

    differences: list[str]


class Rollback(Closed):
    """The number, in the history, of the change that is to be undone, with those that came after it.

    `based_on` is as in a change.
    """

    number: int = Field(ge=1)
    based_on: dict[Short, str | int | float | bool] | None = Field(None, max_length=500)


class Version(Closed):
    """One change: what was set before it and after it, and by whom.

    It is not `undoable` where the file has been read again since: what was set before it was laid over another reading.
    """

    number: int
    time: float
    who: str
    differences: list[str]
    before: dict[str, Plain]
    changed: dict[str, Plain]
    undoable: bool


class History(Closed):
    """The changes since the node started, oldest first."""

    versions: list[Version]
