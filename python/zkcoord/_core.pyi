"""The native core. All functions are fork-safe, thread-safe, and end on signals.

Arguments that all of them share:

path
    The znode, such as ``/lock/web``. Normalised as kazoo does; ``..``, control characters, the root and
    ZooKeeper's own ``/zookeeper`` are refused.
zk_hosts
    Connect string: ``host:port,host:port`` with an optional ``/chroot`` at the end, as text or as a list. The
    port defaults to 2181; IPv6 addresses go in brackets.
profile, config_get
    `config_get` is a callable ``(key, default)``, such as Salt's ``config.get``. Whatever the arguments leave
    open is looked up with it, one key at a time: ``zookeeper:hosts``, or ``zookeeper:PROFILE:hosts`` if a
    profile is named, and likewise the other arguments from ``scheme`` to ``verify_certs``, and
    ``session_timeout`` and ``connect_timeout`` (seconds, 10 each). Then the defaults: ``127.0.0.1:2181``,
    nobody, everything permitted to everybody.
scheme, username, password
    ``digest`` is the scheme, and the default where a name and a password are given; or ``sasl``.
mechanism
    How SASL is done: ``DIGEST-MD5``, or ``GSSAPI`` where it is built in. A server that does not do it is an
    error, AuthFailed.
use_ssl
    Whether to speak TLS, which ``tcp+tls://`` before each server asks for too.
ca_certs
    The file with the certificates, in PEM format, of the authorities that vouch for the servers. It may hold their
    revocation lists too.
certfile, keyfile, keyfile_password
    The client's certificate, with those between it and the authority, and the key to it, which may be encrypted
    (PKCS #8), and may be in the same file. All files are read when a session is opened.
verify_certs
    False: the authority has to vouch for a server, but for whichever host. Each call then logs a warning.
default_acl
    What created znodes permit: an entry or a list of them, each a dict with ``username``, ``password`` and those of
    ``read``, ``write``, ``create``, ``delete``, ``admin``, ``allperms`` that are true; or a dict with ``scheme``,
    ``id`` and ``perms`` (letters of ``cdrwa``, or ``all``); or the word ``creator_all``, everything to whoever
    creates the znode, which needs credentials.
raise_on_signal
    What SIGINT and SIGTERM do while the main thread waits. False: the wait is undone, then the handler that
    was there before runs. True: the wait is undone, and `zkcoord.errors.Cancelled` raised in its place.

Errors, all under `zkcoord.errors.Error`: ArgumentError before anything is sent; Unreachable when no server
answers within `timeout` or the connect timeout, whichever is less; TlsFailed at once when none of them can be
used for its certificate, for ours, or for want of TLS; AuthFailed, NoAuth; Cancelled; ServerError.
A lost connection is mended, an expired session replaced; neither ends a call that has time left.
"""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, TypeAlias, TypedDict

from typing_extensions import Unpack

_Scalar: TypeAlias = str | int | float
_Hosts: TypeAlias = str | Sequence[str]
_File: TypeAlias = str | PathLike[str]
_AclEntryOf: TypeAlias = Mapping[str, Any] | str
_Acl: TypeAlias = _AclEntryOf | Sequence[_AclEntryOf]
_ConfigGet: TypeAlias = Callable[[str, Any], Any]

class _Connection(TypedDict, total=False):
    """The keywords of the functions beyond the stock four: as above, and `timeout` in seconds for the whole."""

    zk_hosts: _Hosts | None
    profile: _Scalar | None
    scheme: str | None
    username: _Scalar | None
    password: _Scalar | None
    default_acl: _Acl | None
    config_get: _ConfigGet | None
    timeout: float | str | None
    raise_on_signal: bool
    mechanism: str | None
    use_ssl: bool | str | None
    ca_certs: _File | None
    certfile: _File | None
    keyfile: _File | None
    keyfile_password: _Scalar | None
    verify_certs: bool | str | None

_Stat: TypeAlias = tuple[int, int, int, int, int, int, int, int, int, int, int]
_AclEntry: TypeAlias = tuple[int, tuple[str, str]]

__version__: str

def lock(
    path: str,
    zk_hosts: _Hosts | None = None,
    identifier: _Scalar | None = None,
    max_concurrency: int | str | None = 1,
    timeout: float | str | None = None,
    ephemeral_lease: bool | None = False,
    force: bool | None = False,
    profile: _Scalar | None = None,
    scheme: str | None = None,
    username: _Scalar | None = None,
    password: _Scalar | None = None,
    default_acl: _Acl | None = None,
    *,
    config_get: _ConfigGet | None = None,
    raise_on_signal: bool = False,
    on_position: Callable[[int], object] | None = None,
    mechanism: str | None = None,
    use_ssl: bool | str | None = None,
    ca_certs: _File | None = None,
    certfile: _File | None = None,
    keyfile: _File | None = None,
    keyfile_password: _Scalar | None = None,
    verify_certs: bool | str | None = None,
) -> bool:
    """Take one of the `max_concurrency` slots at `path` for `identifier` (the host's name).

    True when it is held, also when it was before: holding is idempotent and not counted. False when `timeout`
    ran out: None waits for ever, 0 tries once, otherwise seconds, connecting included. Waiters are served
    first in, first out, kazoo's and Salt's stock ones too; who tries once waits, for ``connect_timeout`` at most,
    for none but those who are about to take a slot and leave one over.

    A lease is persistent, and stays until it is unlocked; with `ephemeral_lease` it ends with the session of
    this process. `force` takes a slot at once, whatever the count and whoever waits. A pool that stores
    another limit is a LimitMismatch; one without data is given the limit; other data is left alone.

    `on_position` is called, from this thread, with the place in the queue (1 is next) when that changes while
    it waits, at most once a second. What it raises ends the wait and comes through.

    On cancel nothing is held and no znode is left. After an expired session the wait starts over at the end of
    the queue, with the time that is left. ConnectionLost: nobody answered who could say whether the slot is
    held. Source: the Semaphore recipe of kazoo, whose znodes these are.
    """

def unlock(
    path: str,
    zk_hosts: _Hosts | None = None,
    identifier: _Scalar | None = None,
    max_concurrency: int | str | None = 1,
    ephemeral_lease: bool | None = False,
    scheme: str | None = None,
    profile: _Scalar | None = None,
    username: _Scalar | None = None,
    password: _Scalar | None = None,
    default_acl: _Acl | None = None,
    *,
    timeout: float | str | None = None,
    config_get: _ConfigGet | None = None,
    raise_on_signal: bool = False,
    mechanism: str | None = None,
    use_ssl: bool | str | None = None,
    ca_certs: _File | None = None,
    certfile: _File | None = None,
    keyfile: _File | None = None,
    keyfile_password: _Scalar | None = None,
    verify_certs: bool | str | None = None,
) -> bool:
    """Give back the slot that `identifier` (the host's name) holds at `path`, from any process.

    True when a lease was removed, False when there was none. `ephemeral_lease` tells which kind to try first,
    and saves round trips; `max_concurrency` is not looked at. After a lost reply the removal is repeated, and
    a lease that is gone by then counts as removed. `timeout`, in seconds, bounds the whole call.
    """

def lock_holders(
    path: str,
    zk_hosts: _Hosts | None = None,
    identifier: _Scalar | None = None,
    max_concurrency: int | str | None = 1,
    timeout: float | str | None = None,
    ephemeral_lease: bool | None = False,
    profile: _Scalar | None = None,
    scheme: str | None = None,
    username: _Scalar | None = None,
    password: _Scalar | None = None,
    default_acl: _Acl | None = None,
    *,
    config_get: _ConfigGet | None = None,
    raise_on_signal: bool = False,
    mechanism: str | None = None,
    use_ssl: bool | str | None = None,
    ca_certs: _File | None = None,
    certfile: _File | None = None,
    keyfile: _File | None = None,
    keyfile_password: _Scalar | None = None,
    verify_certs: bool | str | None = None,
) -> list[str]:
    """List the identifiers that hold a slot at `path`, in no order; none if the path does not exist.

    Creates nothing. `timeout`, in seconds, bounds the call; `identifier`, `max_concurrency` and
    `ephemeral_lease` are there for the stock module's sake and change nothing. What is not UTF-8 is shown with
    replacement characters. Two round trips, whatever the number.
    """

def party_members(
    path: str,
    zk_hosts: _Hosts | None = None,
    min_nodes: int | str | None = 1,
    blocking: bool | None = False,
    profile: _Scalar | None = None,
    scheme: str | None = None,
    username: _Scalar | None = None,
    password: _Scalar | None = None,
    default_acl: _Acl | None = None,
    *,
    timeout: float | str | None = None,
    config_get: _ConfigGet | None = None,
    raise_on_signal: bool = False,
    mechanism: str | None = None,
    use_ssl: bool | str | None = None,
    ca_certs: _File | None = None,
    certfile: _File | None = None,
    keyfile: _File | None = None,
    keyfile_password: _Scalar | None = None,
    verify_certs: bool | str | None = None,
) -> list[str]:
    """List the identifiers present in the party at `path`, in no order: kazoo's Party and ShallowParty members.

    With `blocking`, wait until at least `min_nodes` are there, or `timeout` (None for ever, otherwise seconds)
    ran out; then those so far are returned. Creates nothing; a party that does not exist is empty, and can be
    waited for. Source: the party recipes of kazoo.
    """

def status(path: str, **connection: Unpack[_Connection]) -> dict[str, Any]:
    """Tell who holds a slot at `path`, and who waits for one.

    A dict: ``path``; ``max_concurrency`` (None where none is stored); ``free`` slots (None where nothing limits
    them); ``holders``, the longest first, each with ``identifier``, ``since`` (UTC, RFC 3339, by the servers'
    clock), ``age`` (seconds, by this host's clock), ``ephemeral``, ``fencing_token`` (the lease's czxid),
    ``session`` (hexadecimal, or None) and ``lease`` (its znode's name); ``waiters``, in the order of the queue,
    each with ``identifier``, ``position`` (1 is next), ``since``, ``age``, ``session`` and ``place``. A missing
    path is a pool with neither. Creates nothing; two round trips.
    """

def set_max(path: str, max_concurrency: int | str, **connection: Unpack[_Connection]) -> dict[str, Any]:
    """Change the limit that the pool at `path` stores, by compare-and-set. Waiters see it at once.

    A dict: ``path``, ``old`` (None where there was none), ``new``, ``holders`` (their number) and ``overshoot``,
    how many of them are above the new limit: nobody is evicted. A missing pool is made; one whose data is no
    number is left alone, an ArgumentError.
    """

def znode_create(
    path: str,
    value: bytes | str | None = b"",
    acls: _Acl | None = None,
    ephemeral: bool | None = False,
    sequence: bool | None = False,
    makepath: bool | None = False,
    **connection: Unpack[_Connection],
) -> str:
    """Create a znode, with `makepath` its parents too; its path, below the chroot.

    Without `acls` it permits what ``default_acl`` says. NodeExists; NoNode for a missing parent. A lost reply is
    resolved, but for a sequential znode, whose name is then unknown: ConnectionLost.
    """

def znode_exists(path: str, **connection: Unpack[_Connection]) -> bool:
    """Whether a znode exists."""

def znode_get(path: str, **connection: Unpack[_Connection]) -> bytes:
    """Read the data of a znode. NoNode."""

def znode_children(path: str, **connection: Unpack[_Connection]) -> list[str]:
    """List the names of a znode's children, in no order. NoNode."""

def znode_set(path: str, value: bytes | str, version: int = -1, **connection: Unpack[_Connection]) -> _Stat:
    """Write the data of a znode that is at `version`, -1 for any; its stat, in the order of kazoo's ZnodeStat.

    NoNode, BadVersion. With a version and a lost reply: ConnectionLost.
    """

def znode_get_acls(path: str, **connection: Unpack[_Connection]) -> list[_AclEntry]:
    """Read the ACL of a znode: (permissions, (scheme, id)) each. NoNode."""

def znode_set_acls(path: str, acls: _Acl, version: int = -1, **connection: Unpack[_Connection]) -> _Stat:
    """Write the ACL of a znode; its stat. Errors as `znode_set`."""

def znode_delete(
    path: str, version: int = -1, recursive: bool | None = False, **connection: Unpack[_Connection]
) -> None:
    """Delete a znode that is at `version`, -1 for any, and with `recursive` all below it."""

def digest_acl(keywords: _Acl) -> _AclEntry:
    """Compute the ACL entry that an ACL dict stands for."""

def close() -> None:
    """End the sessions of this process now, and with them its ephemeral leases. Later calls open new ones."""

def _finish(close: bool, ending: int) -> None: ...
def _forked() -> None: ...
