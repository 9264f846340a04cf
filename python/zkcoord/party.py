"""Who is present in a party."""

from __future__ import annotations

from zkcoord import _core
from zkcoord._call import wait_for
from zkcoord._documented import documented
from zkcoord.connection import settings_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Unpack
    from zkcoord._types import Acl, Hosts, Scalar, Security
    from zkcoord.connection import Connection

__all__ = ["party_members"]


@documented
def party_members(
    path: str,
    zk_hosts: Hosts | None = None,
    min_nodes: int | None = 1,
    blocking: bool | None = False,
    profile: Scalar | None = None,
    scheme: str | None = None,
    username: Scalar | None = None,
    password: Scalar | None = None,
    default_acl: Acl | None = None,
    *,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **security: Unpack[Security],
) -> list[str]:
    """List who is present in the party at a path, or wait until enough are: kazoo's Party and ShallowParty members.

    Nothing is created. A party that does not exist is empty, and the call can wait for it.

    Args:
        path: The party's znode.
        min_nodes: How many members to wait for.
        blocking: Wait until that many are there.
        timeout: Seconds. With ``blocking``, None waits for ever, and 0 reads the party once. Without ``blocking``, at
            most, and by default, ``connect_timeout``.

    Returns:
        The members' identifiers, in no order. When the time ran out, those that are there so far.

    The call changes nothing, also when it is cancelled. With ``blocking``, it waits for a lost connection as long as
    its time lasts. Source: the party recipes of kazoo.
    """
    named = {"scheme": scheme, "username": username, "password": password, "default_acl": default_acl}
    settings = settings_for(zk_hosts, connection, {"profile": profile, **named, **security})
    return wait_for(
        lambda wait, _: _core.party_members(path, min_nodes, blocking, settings, wait), timeout, cancel, raise_on_signal
    )
