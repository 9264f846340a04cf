"""Who is present in a party, and being present."""

from __future__ import annotations

from zkcoord import _core
from zkcoord._call import call, wait_for
from zkcoord._documented import documented
from zkcoord._hold import Watched, watch_or_release
from zkcoord.connection import settings_for
from zkcoord.errors import ArgumentError, Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self, Unpack
    from zkcoord._types import Acl, ConnectionKeywords, Hosts, Scalar, Security
    from zkcoord.connection import Connection

__all__ = ["Membership", "party", "party_join", "party_leave", "party_members"]


class Membership(Watched):
    """A membership in a party, until it is left: what `zkcoord.party` answers with.

    As a context manager it leaves the party at the end of the block. A child that was forked off in the block does not
    end its parent's membership.
    """

    __slots__ = ()

    @property
    def path(self) -> str:
        """The party, below the chroot."""
        return self._core.path

    @property
    def identifier(self) -> str:
        """Who is listed."""
        return self._core.identifier

    @property
    def name(self) -> str:
        """The name of the member's znode below the party."""
        return self._core.lease

    @property
    def session(self) -> str:
        """The session in which the party was joined, in hexadecimal."""
        return self._core.session

    @property
    def lost(self) -> threading.Event:
        """An event that is set when the membership is lost: its session has ended, or somebody has removed the member.

        `leave` does not set it. From the first use of this property on, a thread waits for the loss. A member is not
        made anew: whoever wants to be present again joins again.
        """
        return self._loss_event()

    def leave(self, timeout: float | None = None) -> bool:
        """Leave the party: remove this member, and no other. To leave again does nothing.

        Args:
            timeout: Seconds for the answer; the call goes on through an outage until then. Default:
                ``connect_timeout``.

        Returns:
            True when the member was removed. False when the membership was lost or ended before.

        Raises:
            Unreachable, ConnectionLost, Cancelled: No server answered in time, or a signal came. The member is removed
                in the background, as soon as a server answers.
            ArgumentError: This process was forked off the one that has joined.
        """
        if not self._core.is_own:
            raise ArgumentError("membership: belongs to the process that this one was forked off", self.path)
        if self._core.is_released:
            return False
        return call(self._core.release, timeout, None, self._raise_on_signal)

    def __enter__(self) -> Self:
        """Return the membership."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the party. What the block has raised goes on."""
        if not self._core.is_own or self._core.is_released:
            return
        if error is None:
            self.leave()
            return
        try:
            call(self._core.release, None, None, False)
        except Error as err:
            import logging  # noqa: PLC0415 - it takes long, and is rarely needed

            logging.getLogger("zkcoord").warning("could not leave the party at %s: %s", self.path, err)

    def __repr__(self) -> str:
        """Show who is in which party."""
        state = ", left" if self._core.is_released else ""
        return f"<Membership of {self.identifier!r} in {self.path}{state}>"


@documented
def party(
    path: str,
    zk_hosts: Hosts | None = None,
    identifier: Scalar | None = None,
    *,
    shallow: bool | None = False,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    on_lost: Callable[[], object] | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> Membership:
    """Be in a party for one piece of work; ``with zkcoord.party(...)`` leaves it at the end of the block.

    Each membership has a member of its own, which ends with the session of this process at the latest. Kazoo's
    ``Party``, or with ``shallow`` its ``ShallowParty``, lists it, and so does `party_members`.

    Args:
        path: The party's znode, such as ``/party/web``. It is created when missing.
        identifier: Who is listed; any text or number. Default: the host's name.
        shallow: True: the identifier stands in the name of the member's znode. It may have no slash then.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.
        on_lost: Called from a thread of its own when the membership is lost.

    Returns:
        A `zkcoord.Membership`.

    Raises:
        ConnectionLost: The time was up before a server could say whether there is a member. If there is, it is removed
            in the background, as soon as a server answers.

    A call that is cancelled leaves no member. Source: the party recipes of kazoo.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    joined = call(
        lambda wait: _core.party_join(path, identifier, True, shallow, True, settings, wait),
        timeout,
        cancel,
        raise_on_signal,
    )
    assert not isinstance(joined, bool)
    return watch_or_release(joined, lambda: Membership(joined, on_lost, raise_on_signal))


@documented
def party_join(
    path: str,
    zk_hosts: Hosts | None = None,
    identifier: Scalar | None = None,
    *,
    ephemeral: bool | None = True,
    shallow: bool | None = False,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> bool:
    """Make an identifier a member of the party at a path, until `party_leave`. To join again changes nothing.

    For one piece of work use `zkcoord.party`, which leaves the party at the end of the block.

    Args:
        path: The party's znode. It is created when missing.
        identifier: Who is listed; any text or number. Default: the host's name.
        ephemeral: True: the member is removed with the session of this process at the latest. False: it stays until
            somebody removes it, also after a reboot.
        shallow: True: the identifier stands in the name of the member's znode, as in kazoo's ``ShallowParty``.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.

    Returns:
        True: the identifier is a member.

    Raises:
        ConnectionLost: The time was up before a server could say whether there is a member. If there is, it is removed
            in the background, as soon as a server answers.

    A call that is cancelled leaves no member. When the session expires, the servers remove an ephemeral member.
    Source: the party recipes of kazoo.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    call(
        lambda wait: _core.party_join(path, identifier, ephemeral, shallow, False, settings, wait),
        timeout,
        cancel,
        raise_on_signal,
    )
    return True


@documented
def party_leave(
    path: str,
    zk_hosts: Hosts | None = None,
    identifier: Scalar | None = None,
    *,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> bool:
    """Remove an identifier from the party at a path: all its members, from any process.

    Args:
        path: The party's znode.
        identifier: Who leaves; any text or number. Default: the host's name.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.

    Returns:
        True when the identifier was a member; False when it was not.

    Raises:
        ConnectionLost: The time was up before a server could say whether the members were removed.

    A member that joins while the call is under way stays. Source: the party recipes of kazoo.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(lambda wait: _core.party_leave(path, identifier, settings, wait), timeout, cancel, raise_on_signal)


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
