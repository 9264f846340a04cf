"""Timed leases by their owners' names, from any process, and who holds them."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

from zkcoord import _core
from zkcoord._call import call, wait_for
from zkcoord._documented import documented
from zkcoord._lease_calls import check_terms
from zkcoord.connection import settings_for
from zkcoord.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Unpack
    from zkcoord._gevent import Listener, Wait
    from zkcoord._types import ConnectionKeywords, Hosts, LeaseStatus, LeaseSummary, Scalar
    from zkcoord.connection import Connection

LEASE_DURATION = 60.0
MAX_CLOCK_SKEW = 1.0

# Seconds for giving back a lease that was taken for a caller who does not wait any more.
_A_MOMENT = 2.0


@dataclass(frozen=True)
class Taken:
    """A lease that was taken by its owner's name. Nothing renews it: it ends by the clock, unless `renew` is called."""

    token: int
    """The fencing token: later holders have greater ones."""
    transitions: int
    """How often the lease has changed hands."""
    expires_at: float
    """Until when it is held, by ``time.clock_gettime(time.CLOCK_BOOTTIME)`` of this host."""
    taken_from: str | None
    """Who held the lease before, and has not given it back until it was over. None: the lease was free."""
    is_new: bool
    """False: the owner held it already, and it was renewed."""

    @property
    def expires_in(self) -> float:
        """Seconds for which it is held from now on, negative once it is over."""
        return self.expires_at - time.clock_gettime(time.CLOCK_BOOTTIME)


@documented
def take(
    path: str,
    owner: Scalar,
    zk_hosts: Hosts | None = None,
    *,
    lease_duration: float = LEASE_DURATION,
    timeout: float | None = None,
    use_observed_time: bool = True,
    max_clock_skew: float | None = MAX_CLOCK_SKEW,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    on_position: Callable[[int], object] | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> Taken | None:
    """Take a lease that outlives this process, by its owner's name, and wait for it if need be.

    Nothing renews it: it ends ``lease_duration`` after it was taken, or renewed by `renew`. Where the owner holds it by
    name already, this call renews it. A lease that a `LeaseLocker` of the same name holds counts as another's.

    Args:
        path: The record's znode; created with its parents when missing. Its last part is lower-cased.
        owner: Who holds it.
        lease_duration: Seconds for which it is held. Where the owner holds it for longer already, it is not made
            shorter, because another process may count on that: only `renew` makes it shorter.
        timeout: Seconds to wait, connecting included. None waits for ever, 0 tries once.
        use_observed_time: As for `LeaseLocker`.
        max_clock_skew: As for `LeaseLocker`.
        on_position: Called from this thread with the position in the queue, as for `zkcoord.lock`.

    Returns:
        A `Taken`; None when the time ran out.

    Raises:
        ConnectionLost: The time was up before a server could say whether this call has taken the lease. If it has, the
            lease is given back in the background, and it ends by the clock in any case.

    A call that is cancelled takes no lease, and its queue node is deleted as for `zkcoord.lock`. A lease that the owner
    held before may have been renewed.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    terms = (lease_duration, use_observed_time, max_clock_skew)
    check_terms(path, terms)
    answers: list[Taken] = []

    def work(wait: Wait, listener: Listener | None) -> object:
        taken = _core.lease_acquire(path, owner, True, terms, None, listener, settings, wait)
        if isinstance(taken, tuple):
            answers.append(Taken(*taken))
        return taken

    try:
        wait_for(work, timeout, cancel, raise_on_signal, on_position)
    except BaseException:
        # A greenlet was interrupted when the answer was here already. A lease that its owner held before stays.
        if answers and answers[0].is_new:
            with suppress(Error):
                call(lambda wait: _core.lease_release(path, owner, settings, wait), _A_MOMENT, None, False)
        raise
    return answers[0] if answers else None


@documented
def renew(
    path: str,
    owner: Scalar,
    zk_hosts: Hosts | None = None,
    *,
    lease_duration: float | None = None,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> float | None:
    """Renew a lease that its owner holds by name, from any process; also one that is over, while nobody else has it.

    Args:
        path: The record's znode.
        owner: Who holds it.
        lease_duration: Seconds for which it is held from now on. Default: as many as before.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.

    Returns:
        The seconds for which it is held from now on, which count from before the request was sent; None where the owner
        does not hold it by name.

    Raises:
        ConnectionLost: The lease may have been renewed, or not.

    When the call is cancelled, its error says whether the lease may have been renewed.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(
        lambda wait: _core.lease_renew(path, owner, lease_duration, settings, wait), timeout, cancel, raise_on_signal
    )


@documented
def give_back(
    path: str,
    owner: Scalar | None,
    zk_hosts: Hosts | None = None,
    *,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> str | None:
    """Give back the lease of an owner, from any process, whoever has taken it in that name.

    Args:
        path: The record's znode.
        owner: Who holds it. None: whoever does, which takes the lease away from a holder who may be acting still.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.

    Returns:
        Whose lease this call has given back; None where the owner does not hold it.

    Raises:
        ConnectionLost: The lease may have been given back, or not.

    When the call is cancelled, its error says whether the lease may have been given back.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(lambda wait: _core.lease_release(path, owner, settings, wait), timeout, cancel, raise_on_signal)


@documented
def status(
    path: str,
    zk_hosts: Hosts | None = None,
    *,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> LeaseStatus:
    """Tell who holds a lease since when and until when, and who waits for it. Nothing is created.

    Args:
        path: The record's znode.
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``.

    Returns:
        A dict. ``path``; ``transitions``, how often it has changed hands; ``holder``, None where nobody holds it, else
        a dict: ``owner``, ``acquired`` (RFC 3339, by the holder's wall clock), ``duration`` (seconds), ``renewed`` and
        ``until`` (by the servers' clock), ``left`` (seconds until then by this host's clock; negative: it is over, and
        others may take it once the clock skew that they allow for is over too), ``fencing_token`` (None: another
        program holds it) and ``by_name`` (True: any process that names the owner may renew it). ``waiters``: a dict for
        each, in the order of the queue, with ``owner``, ``position`` (1 is next), ``since`` and ``age``.

    The call takes two round trips.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(lambda wait: _core.lease_status(path, settings, wait), timeout, cancel, raise_on_signal)


@documented
def below(
    path: str,
    zk_hosts: Hosts | None = None,
    *,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> list[LeaseSummary]:
    """List the leases right below a path. Other znodes are left out, and so are those that this user may not read.

    Args:
        path: Any znode.
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``.

    Returns:
        A dict for each, in the order of their names: ``path``, ``holder`` and ``transitions`` as `status` has them, and
        ``waiting``, how many wait.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(lambda wait: _core.lease_list(path, settings, wait), timeout, cancel, raise_on_signal)
