"""Single znodes: create, read, write, delete, and their ACLs.

After a lost reply, `set`, `set_acls`, `delete` and a sequential `create` are not sent again. Where the znode that is
there tells what became of the request, the call answers by that. Otherwise the error is `ConnectionLost`. When a write
is cancelled, its error says whether the znode may have been changed.
"""

from __future__ import annotations

from zkcoord import _core
from zkcoord._call import call
from zkcoord._documented import documented
from zkcoord.connection import settings_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Unpack
    from zkcoord._types import Acl, AclEntry, ConnectionKeywords, Hosts, ZnodeStat
    from zkcoord.connection import Connection

__all__ = ["children", "create", "delete", "digest_acl", "exists", "get", "get_acls", "set", "set_acls"]


@documented
def create(
    path: str,
    value: bytes | str | None = b"",
    zk_hosts: Hosts | None = None,
    acls: Acl | None = None,
    ephemeral: bool | None = False,
    sequence: bool | None = False,
    makepath: bool | None = False,
    *,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> str:
    """Create a znode.

    Args:
        path: The znode.
        value: Its data.
        acls: What it permits. Default: what ``default_acl`` says.
        ephemeral: True: the servers remove it when the session of this process ends.
        sequence: True: the servers add a number to its name.
        makepath: True: create missing parents as well.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.

    Returns:
        The znode's path, below the chroot.

    Raises:
        NodeExists: There is a znode at the path already.
        NoNode: A parent is missing.
        ConnectionLost: The reply was lost, and nobody can say whether this call has created the znode that is there. An
            ephemeral znode names its session, but a persistent one does not tell who has created it, and the name of a
            sequential one is not known.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(
        lambda wait: _core.znode_create(path, value, acls, ephemeral, sequence, makepath, settings, wait),
        timeout,
        cancel,
        raise_on_signal,
    )


@documented
def exists(
    path: str,
    zk_hosts: Hosts | None = None,
    *,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> bool:
    """Tell whether a znode exists.

    Args:
        path: The znode.
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(lambda wait: _core.znode_exists(path, settings, wait), timeout, cancel, raise_on_signal)


@documented
def get(
    path: str,
    zk_hosts: Hosts | None = None,
    *,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> bytes:
    """Read the data of a znode.

    Args:
        path: The znode.
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``.

    Raises:
        NoNode: There is no such znode.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(lambda wait: _core.znode_get(path, settings, wait), timeout, cancel, raise_on_signal)


@documented
def children(
    path: str,
    zk_hosts: Hosts | None = None,
    *,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> list[str]:
    """List the names of a znode's children, in no order.

    Args:
        path: The znode.
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``.

    Raises:
        NoNode: There is no such znode.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(lambda wait: _core.znode_children(path, settings, wait), timeout, cancel, raise_on_signal)


@documented
def set(
    path: str,
    value: bytes | str,
    zk_hosts: Hosts | None = None,
    version: int = -1,
    *,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> ZnodeStat:
    """Write the data of a znode.

    Args:
        path: The znode.
        value: The data.
        version: Write only if the znode is at this version. -1 stands for any.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.

    Returns:
        The znode's stat, in the order of kazoo's ``ZnodeStat``.

    Raises:
        NoNode: There is no such znode.
        BadVersion: The znode is at another version.
        ConnectionLost: The reply was lost, and the znode does not hold the data, or a ``version`` was given: somebody
            else may have written.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(lambda wait: _core.znode_set(path, value, version, settings, wait), timeout, cancel, raise_on_signal)


@documented
def get_acls(
    path: str,
    zk_hosts: Hosts | None = None,
    *,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> list[AclEntry]:
    """Read the ACL of a znode.

    Args:
        path: The znode.
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``.

    Returns:
        Its entries, each ``(permissions, (scheme, id))``.

    Raises:
        NoNode: There is no such znode.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(lambda wait: _core.znode_get_acls(path, settings, wait), timeout, cancel, raise_on_signal)


@documented
def set_acls(
    path: str,
    acls: Acl,
    zk_hosts: Hosts | None = None,
    version: int = -1,
    *,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> ZnodeStat:
    """Write the ACL of a znode.

    Args:
        path: The znode.
        acls: What the znode is to permit: as ``default_acl``, and not empty.
        version: Write only if the ACL is at this version. -1 stands for any.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.

    Returns:
        The znode's stat, in the order of kazoo's ``ZnodeStat``.

    Raises:
        NoNode, BadVersion, ConnectionLost: As for `set`.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(
        lambda wait: _core.znode_set_acls(path, acls, version, settings, wait), timeout, cancel, raise_on_signal
    )


@documented
def delete(
    path: str,
    zk_hosts: Hosts | None = None,
    version: int = -1,
    recursive: bool | None = False,
    *,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> None:
    """Delete a znode.

    Args:
        path: The znode.
        version: Delete the znode only if it is at this version. -1 stands for any.
        recursive: True: delete all znodes below it as well. Then a znode that does not exist is no error.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.

    Raises:
        NoNode: There is no such znode.
        BadVersion: The znode is at another version.
        ServerError: The znode has children.
        ConnectionLost: The reply was lost, and a znode is there: somebody may have created it since.

    A recursive delete that fails may have deleted a part.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    call(lambda wait: _core.znode_delete(path, version, recursive, settings, wait), timeout, cancel, raise_on_signal)


def digest_acl(keywords: Acl) -> AclEntry:
    """Compute the ACL entry that an ACL dict stands for: ``(permissions, (scheme, id))``.

    Args:
        keywords: An entry as in ``default_acl``.

    Raises:
        ArgumentError: It is no such entry.
    """
    return _core.digest_acl(keywords)
