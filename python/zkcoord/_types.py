"""The types of arguments and answers. Only type checkers import this."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypeAlias, TypedDict

Scalar: TypeAlias = str | int | float
Limit: TypeAlias = int | Literal["stored"]
Hosts: TypeAlias = str | Sequence[str]
File: TypeAlias = str | PathLike[str]
Acl: TypeAlias = Mapping[str, Any] | str | Sequence[Mapping[str, Any] | str]

AclEntry: TypeAlias = tuple[int, tuple[str, str]]
"""Permissions, and (scheme, id)."""

ZnodeStat: TypeAlias = tuple[int, int, int, int, int, int, int, int, int, int, int]
"""In the order of kazoo's ZnodeStat: czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeralOwner,
dataLength, numChildren, pzxid."""


class Security(TypedDict, total=False):
    """What a connection has beyond the arguments of Salt's stock functions."""

    config: Mapping[str, Any] | None
    config_get: Callable[[str, Any], Any] | None
    mechanism: str | None
    use_ssl: bool | None
    ca_certs: File | None
    certfile: File | None
    keyfile: File | None
    keyfile_password: Scalar | None
    verify_certs: bool | None
    session_timeout: float | None
    connect_timeout: float | None
    idle_timeout: float | None
    max_buffer: int | None


class ConnectionKeywords(Security, total=False):
    """The keywords of a connection, beside ``zk_hosts``."""

    profile: Scalar | None
    scheme: str | None
    username: Scalar | None
    password: Scalar | None
    default_acl: Acl | None


class Holder(TypedDict):
    """Who holds a slot."""

    identifier: str
    since: str
    age: float
    ephemeral: bool
    fencing_token: int
    session: str | None
    lease: str
    reason: str | None
    host: str | None
    pid: int | None
    job: str | None


class Evicted(TypedDict):
    """Whose slot was taken away."""

    path: str
    identifier: str
    leases: list[str]


class Waiter(TypedDict):
    """Who waits for a slot."""

    identifier: str
    position: int
    since: str
    age: float
    session: str | None
    orphan: bool
    place: str


class Status(TypedDict):
    """A pool and its queue at one moment."""

    path: str
    max_concurrency: int | None
    free: int | None
    holders: list[Holder]
    waiters: list[Waiter]


class ListedPool(TypedDict):
    """A pool, in a list of pools."""

    path: str
    max_concurrency: int | None
    held: int | None
    waiting: int | None
    changes: int | None


class LimitChange(TypedDict):
    """What a change of a limit has done."""

    path: str
    old: int | None
    new: int
    holders: int
    overshoot: int


class LeaseHolder(TypedDict):
    """Who holds a timed lease."""

    owner: str
    acquired: str | None
    duration: float
    renewed: str
    until: str
    left: float
    fencing_token: int | None
    by_name: bool


class LeaseWaiter(TypedDict):
    """Who waits for a timed lease."""

    owner: str
    position: int
    since: str
    age: float


class LeaseStatus(TypedDict):
    """A timed lease and its queue at one moment."""

    path: str
    holder: LeaseHolder | None
    transitions: int
    waiters: list[LeaseWaiter]


class LeaseSummary(TypedDict):
    """A timed lease as one of many."""

    path: str
    holder: LeaseHolder | None
    transitions: int
    waiting: int


class ServerRow(TypedDict):
    """A server of an ensemble, as far as it tells."""

    id: int | None
    address: str | None
    member: str | None
    role: str | None
    mode: str | None
    in_sync: bool
    version: str | None
    zxid: str | None
    behind: int | None
    connections: int | None
    latency: str | None
    since: str | None
    configuration: str | None
    words: dict[str, str]
    clock: float | None
    trouble: str | None


class EnsembleStatus(TypedDict):
    """An ensemble at one moment, as its servers describe it."""

    servers: list[ServerRow]
    leader: int | None
    config_version: int | None
    config: list[str]
    trouble: str | None
    has_quorum: bool
    critical: list[int]


class EnsembleChange(TypedDict):
    """What a change of an ensemble has done."""

    changed: bool
    members: list[str]
    version: int


Policy: TypeAlias = str | Mapping[str, Any]
"""``"serial"``, or a mapping with some of ``max``, ``party``, ``per`` and ``window``."""


class Dropped(TypedDict):
    """A request that was dropped because its unit was not seen."""

    unit: str
    granted: bool
    seen: str
    expires: float


class Effects(TypedDict):
    """What a call to a coordinator has changed for others."""

    granted: list[str]
    released: list[tuple[str, int]]
    dropped: list[Dropped]


class Acquired(TypedDict):
    """A request, and whether it is granted."""

    granted: bool
    request: int
    since: str
    timestamp: float
    token: int | None
    granted_since: str | None
    position: int | None
    waiting: int
    holders: list[tuple[str, str | None]]
    is_new: bool
    other_policy: str | None
    effects: Effects


class Released(TypedDict):
    """What was given back."""

    requested: bool
    granted: bool
    request: int | None
    since: str | None
    granted_since: str | None
    effects: Effects


class _Stated(TypedDict):
    reason: str | None
    labels: dict[str, str]
    expires: float | None
    seen: str
    unseen: float


class GrantHolder(_Stated):
    """A request that is granted."""

    unit: str
    request: int
    since: str
    timestamp: float
    granted: str | None
    age: float
    token: int | None
    by: str | None
    granted_because: str | None


class GrantWaiter(_Stated):
    """A request that is not granted yet."""

    unit: str
    position: int
    request: int
    since: str
    timestamp: float
    age: float
    hopeless: str | None


class LockQueue(TypedDict):
    """A lock of a coordinator and its queue at one moment."""

    lock: str
    path: str
    policy: dict[str, Any] | None
    rule: str | None
    max: int | None
    opens: str | None
    version: int | None
    holders: list[GrantHolder]
    waiters: list[GrantWaiter]


class OwnGrant(TypedDict):
    """A grant of a unit."""

    lock: str
    request: int
    token: int | None
    granted: str | None
    by: str | None
    reason: str | None


class OwnGrants(TypedDict):
    """What a unit was granted, and what it waits for."""

    granted: list[OwnGrant]
    waiting: list[str]
