"""The native core. The public functions are in the modules beside it; this is what they are made of."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, final

from zkcoord._types import (
    Acl,
    AclEntry,
    Acquired,
    Effects,
    EnsembleStatus,
    Evicted,
    LeaseStatus,
    LeaseSummary,
    Limit,
    LimitChange,
    ListedPool,
    LockQueue,
    OwnGrants,
    Policy,
    Released,
    Scalar,
    Status,
    ZnodeStat,
)

_Wait: TypeAlias = tuple[float | None, Cancel | None, bool]
"""Timeout, cancel, raise_on_signal."""
_Meaning: TypeAlias = tuple[str, int, Any, int] | str
"""A reply's salt, status, answer and serial; or why a datagram is discarded."""
_Home: TypeAlias = tuple[str, Scalar]
"""Root, key."""

__all__ = [
    "Cancel",
    "ConfdSocket",
    "Hold",
    "Settings",
    "TimedLease",
    "__version__",
    "_finish",
    "_forked",
    "acquire",
    "close",
    "confd_needed",
    "confd_query",
    "confd_salt",
    "confd_types",
    "coordinator_acquire",
    "coordinator_foretell",
    "coordinator_grant",
    "coordinator_grant_if",
    "coordinator_granted",
    "coordinator_locks",
    "coordinator_queue",
    "coordinator_release",
    "coordinator_set_policy",
    "coordinator_settle",
    "digest_acl",
    "ensemble_ask",
    "ensemble_config",
    "ensemble_leader",
    "ensemble_member",
    "ensemble_status",
    "ensemble_step",
    "ensemble_steps",
    "ensemble_tree",
    "ensemble_wait",
    "evict",
    "is_given",
    "lease_acquire",
    "lease_check",
    "lease_create",
    "lease_format",
    "lease_get",
    "lease_list",
    "lease_news",
    "lease_parse",
    "lease_path",
    "lease_release",
    "lease_renew",
    "lease_scalar",
    "lease_seconds",
    "lease_status",
    "lease_timeout",
    "lease_update",
    "lock_holders",
    "neighbours",
    "obstacles",
    "party_join",
    "party_leave",
    "party_members",
    "pools",
    "profile_name",
    "remove_pool",
    "set_max",
    "status",
    "unlock",
    "znode_children",
    "znode_create",
    "znode_delete",
    "znode_exists",
    "znode_get",
    "znode_get_acls",
    "znode_set",
    "znode_set_acls",
]

__version__: str

@final
class Cancel:
    """Ends the calls that it is given to. It may be cancelled from any thread, before a call or during it, and stays
    so."""

    def __new__(cls) -> Cancel: ...
    def cancel(self) -> None:
        """End the calls that this was given to, and those that it will be given to. Does not wait for them."""
    def child(self) -> Cancel:
        """Return a `Cancel` that is cancelled with this one, or alone."""
    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled."""

@final
class Settings:
    """The settings of a connection, checked: what is given, and under that what is configured."""

    def __new__(
        cls,
        given: Mapping[str, Any],
        configured: Mapping[str, Any],
        profile: str | None,
        section: str | None,
    ) -> Settings: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...
    @property
    def hosts(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def session_timeout(self) -> float: ...
    @property
    def connect_timeout(self) -> float: ...
    @property
    def idle_timeout(self) -> float: ...
    @property
    def default_acl(self) -> list[AclEntry]: ...
    @property
    def max_buffer(self) -> int: ...
    def close(self) -> None: ...
    def close_unused(self) -> None: ...

@final
class Hold:
    """A lease, in the process that has taken it."""

    @property
    def path(self) -> str: ...
    @property
    def identifier(self) -> str: ...
    @property
    def lease(self) -> str: ...
    @property
    def token(self) -> int: ...
    @property
    def session(self) -> str: ...
    @property
    def ephemeral(self) -> bool: ...
    @property
    def is_own(self) -> bool: ...
    @property
    def is_released(self) -> bool: ...
    @property
    def connection(self) -> Settings: ...
    def release(self, wait: _Wait) -> bool: ...
    def is_held(self, wait: _Wait) -> bool: ...
    def eviction(self, wait: _Wait) -> str | None: ...
    def expect_unlock(self) -> None: ...
    def wait_until_lost(self, wait: _Wait) -> None: ...

@final
class TimedLease:
    """A lease that this process holds, and renews."""

    @property
    def path(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def hold(self) -> str: ...
    @property
    def token(self) -> int: ...
    @property
    def transitions(self) -> int: ...
    @property
    def taken_from(self) -> str | None: ...
    @property
    def is_own(self) -> bool: ...
    @property
    def connection_settings(self) -> Settings: ...
    @property
    def renewals(self) -> int: ...
    def state(self) -> tuple[float, str | None, str | None]: ...
    def loss(self) -> tuple[str, str | None] | None: ...
    def give_up(self) -> None: ...
    def record(self) -> tuple[bytes, int]: ...
    def renew(self, wait: _Wait) -> str | None: ...
    def release(self, wait: _Wait) -> bool: ...

_Terms: TypeAlias = tuple[float, bool, float | None]
"""Duration, use_observed_time, max_clock_skew."""
_Pace: TypeAlias = tuple[float, float, bool]
"""Renew_deadline, retry_period, release_on_cancel."""
_Record: TypeAlias = tuple[str, int, str | None, str | None, int, list[tuple[str, str]]]
"""Holder, seconds, acquired, renewed, transitions, and the other members as JSON."""

def acquire(
    path: str,
    who: Scalar | None,
    max_concurrency: Limit | None,
    ephemeral: bool | None,
    force: bool | None,
    own: bool,
    reason: Scalar | None,
    job: Scalar | None,
    on_position: Callable[[int], object] | None,
    connection: Settings,
    wait: _Wait,
) -> Hold | bool: ...
def unlock(
    path: str,
    who: Scalar | None,
    max_concurrency: Limit | None,
    ephemeral: bool | None,
    connection: Settings,
    wait: _Wait,
) -> bool: ...
def lock_holders(
    path: str,
    who: Scalar | None,
    max_concurrency: Limit | None,
    ephemeral: bool | None,
    connection: Settings,
    wait: _Wait,
) -> list[str]: ...
def ensemble_ask(
    word: str, admin_port: int | None, hurried: bool, connection: Settings, wait: _Wait
) -> list[tuple[str, str, dict[str, str]] | tuple[str, None, Exception]]: ...
def ensemble_config(connection: Settings, wait: _Wait) -> tuple[list[str], int]: ...
def ensemble_leader(admin_port: int | None, connection: Settings, wait: _Wait) -> str: ...
def ensemble_member(line: str) -> tuple[int, str, str | None, str, str]: ...
def ensemble_status(admin_port: int | None, clocks: bool, connection: Settings, wait: _Wait) -> EnsembleStatus: ...
def ensemble_step(
    kind: str,
    argument: str | int | list[str],
    version: int | None,
    only_decide: bool | None,
    admin_port: int | None,
    connection: Settings,
    wait: _Wait,
) -> tuple[bool, tuple[list[str], int]]: ...
def ensemble_steps(now: list[str], wanted: list[str], leader: int | None) -> list[tuple[str, str | int]]: ...
def ensemble_tree(path: str, connection: Settings, wait: _Wait) -> list[str]: ...
def ensemble_wait(
    ids: Iterable[int] | None, admin_port: int | None, connection: Settings, wait: _Wait
) -> tuple[list[str], int]: ...
def neighbours(path: str, connection: Settings, wait: _Wait) -> list[str] | None: ...
def obstacles(path: str, connection: Settings, wait: _Wait) -> tuple[list[str], str | None]: ...
def party_members(
    path: str, min_nodes: int | None, blocking: bool | None, connection: Settings, wait: _Wait
) -> list[str]: ...
def status(path: str, connection: Settings, wait: _Wait) -> Status: ...
def pools(root: str, connection: Settings, wait: _Wait) -> list[ListedPool]: ...
def remove_pool(path: str, connection: Settings, wait: _Wait) -> bool: ...
def party_join(
    path: str,
    who: Scalar | None,
    ephemeral: bool | None,
    shallow: bool | None,
    own: bool,
    connection: Settings,
    wait: _Wait,
) -> Hold | bool: ...
def party_leave(path: str, who: Scalar | None, connection: Settings, wait: _Wait) -> bool: ...
def evict(
    path: str,
    who: Scalar,
    reason: Scalar,
    by: Scalar | None,
    job: Scalar | None,
    connection: Settings,
    wait: _Wait,
) -> Evicted: ...
def set_max(path: str, max_concurrency: int, connection: Settings, wait: _Wait) -> LimitChange: ...
def coordinator_acquire(
    home: _Home,
    name: Scalar,
    unit: Scalar,
    policy: Policy,
    reason: Scalar | None,
    labels: Mapping[str, Scalar] | None,
    expires: float | None,
    connection: Settings,
    wait: _Wait,
) -> Acquired: ...
def coordinator_settle(
    home: _Home,
    name: Scalar,
    by: Scalar,
    drops: bool | None,
    seen: Scalar | None,
    connection: Settings,
    wait: _Wait,
) -> Effects: ...
def coordinator_foretell(
    home: _Home,
    name: Scalar,
    unit: Scalar,
    policy: Policy,
    labels: Mapping[str, Scalar] | None,
    connection: Settings,
    wait: _Wait,
) -> Acquired: ...
def coordinator_release(
    home: _Home,
    name: Scalar,
    unit: Scalar,
    request: int | None,
    by: Scalar,
    connection: Settings,
    wait: _Wait,
) -> Released: ...
def coordinator_grant(
    home: _Home,
    name: Scalar,
    unit: Scalar,
    by: Scalar,
    reason: Scalar | None,
    connection: Settings,
    wait: _Wait,
) -> Effects | None: ...
def coordinator_grant_if(
    home: _Home,
    name: Scalar,
    custom: str,
    version: int,
    units: set[str],
    by: Scalar,
    connection: Settings,
    wait: _Wait,
) -> Effects | None: ...
def coordinator_set_policy(
    home: _Home, name: Scalar, policy: Policy, connection: Settings, wait: _Wait
) -> str | None: ...
def coordinator_queue(home: _Home, name: Scalar, connection: Settings, wait: _Wait) -> LockQueue: ...
def coordinator_locks(home: _Home, connection: Settings, wait: _Wait) -> list[str]: ...
def coordinator_granted(home: _Home, unit: Scalar, known: set[int], connection: Settings, wait: _Wait) -> OwnGrants: ...
def znode_create(
    path: str,
    value: bytes | str | None,
    acls: Acl | None,
    ephemeral: bool | None,
    sequence: bool | None,
    makepath: bool | None,
    connection: Settings,
    wait: _Wait,
) -> str: ...
def znode_exists(path: str, connection: Settings, wait: _Wait) -> bool: ...
def znode_get(path: str, connection: Settings, wait: _Wait) -> bytes: ...
def znode_children(path: str, connection: Settings, wait: _Wait) -> list[str]: ...
def znode_set(path: str, value: bytes | str, version: int, connection: Settings, wait: _Wait) -> ZnodeStat: ...
def znode_get_acls(path: str, connection: Settings, wait: _Wait) -> list[AclEntry]: ...
def znode_set_acls(path: str, acls: Acl, version: int, connection: Settings, wait: _Wait) -> ZnodeStat: ...
def znode_delete(path: str, version: int, recursive: bool | None, connection: Settings, wait: _Wait) -> None: ...
def lease_check(terms: _Terms, keep: _Pace | None = None) -> bool: ...
def lease_seconds(name: str, value: float) -> float: ...
def lease_scalar(name: str, value: Scalar) -> str: ...
def lease_acquire(
    path: str,
    who: Scalar,
    by_name: bool,
    terms: _Terms,
    keep: _Pace | None,
    on_position: Callable[[int], object] | None,
    connection: Settings,
    wait: _Wait,
) -> TimedLease | tuple[int, int, float, str | None, bool] | bool: ...
def lease_timeout(timeout: float | None) -> float | None: ...
def lease_news(connection: Settings, wait: _Wait) -> tuple[str, str, str, str | None] | None: ...
def lease_parse(path: str | None, data: bytes | str) -> _Record: ...
def lease_format(record: _Record) -> str: ...
def lease_path(path: str) -> tuple[str, str]: ...
def lease_get(path: str, connection: Settings, wait: _Wait) -> tuple[bytes, int] | None: ...
def lease_create(path: str, data: bytes | str, connection: Settings, wait: _Wait) -> None: ...
def lease_update(
    path: str, data: bytes | str, version: int, connection: Settings, wait: _Wait
) -> tuple[bytes, int]: ...
def lease_renew(path: str, who: Scalar, duration: float | None, connection: Settings, wait: _Wait) -> float | None: ...
def lease_release(path: str, who: Scalar | None, connection: Settings, wait: _Wait) -> str | None: ...
def lease_status(path: str, connection: Settings, wait: _Wait) -> LeaseStatus: ...
def lease_list(path: str, connection: Settings, wait: _Wait) -> list[LeaseSummary]: ...
def is_given(value: object) -> bool: ...
def profile_name(profile: Scalar) -> str: ...
def digest_acl(keywords: Acl) -> AclEntry: ...
def close() -> None:
    """End the sessions of this process now, and with them its ephemeral leases. Later calls open new sessions.

    Calls under way in other threads are cancelled: what they would get would be gone.
    """

def _finish(close: bool, ending: int) -> None: ...
def _forked() -> None: ...

@final
class ConfdSocket:
    """A client of ganeti-confd that stays: send, and receive step by step."""

    def __new__(cls, key: bytes | str, peers: Sequence[str], port: int, retries: int) -> ConfdSocket: ...
    @property
    def peers(self) -> list[str]: ...
    def update_peers(self, peers: Sequence[str]) -> None: ...
    def send(self, kind: int, query: Any, salt: str, coverage: int) -> None: ...
    def fileno(self) -> int: ...
    def flush(self) -> None: ...
    def expire(self) -> list[str]: ...
    def await_for(self, salt: str, limit: float) -> None: ...
    def counts(self, salt: str) -> tuple[int, int, bool] | None:
        """Asked, replied, whether these are enough; None for a query that is not open."""
    def receive(self, wait: _Wait) -> tuple[str, int, _Meaning] | None:
        """The sender's address and port, and what its datagram means; None where none came."""
    def handle(self, datagram: bytes, address: str) -> _Meaning: ...

def confd_needed(peers: int) -> int: ...
def confd_salt() -> str: ...
def confd_types() -> list[str]: ...
def confd_query(
    key: bytes | str,
    peers: Sequence[str],
    port: int,
    kind: int | str,
    query: Any,
    salt: str,
    coverage: int,
    replies: int | None,
    retries: int,
    secrets: bool,
    wait: _Wait,
) -> tuple[
    int | None,
    Any,
    int | None,
    bool,
    int,
    int,
    bool,
    list[tuple[str, int | None, Any, int | None, float | None, str | None]],
    list[tuple[str, str]],
    bool,
]:
    """Status, answer, serial, whether consistent, replies needed, replies that tell of the cluster, whether timed out;
    of each peer its address, status, answer, serial, seconds and trouble; who sent what was discarded, and why; whether
    the key lacks its newline."""
