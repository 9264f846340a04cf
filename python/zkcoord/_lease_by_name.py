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

# Seconds for giving back what nobody waits for any more.
_A_MOMENT = 2.0


@dataclass(frozen=True)
class Taken:
    """A lease that was taken by its owner's name. Nothing renews it: it ends by itself, or with `renew` later."""

    token: int
    """The fencing token: later holders have greater ones."""
    transitions: int
    """How often the lease has changed hands."""
    expires_at: float
    """Until when it is held, by ``time.clock_gettime(time.CLOCK_BOOTTIME)`` of this host."""
    taken_from: str | None
    """Who held it before, whose lease was over."""
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

    Nothing renews it: it ends ``lease_duration`` after it was taken, or renewed by `renew`. Where the owner has it by
    name already it is renewed. What a `LeaseLocker` of the same name holds is another's.

    Args:
        path: The record's znode; created with its parents when missing. Its last part is lower-cased.
        owner: Who holds it.
        lease_duration: Seconds for which it is held. Where the owner has it for longer already, it is not made shorter
            for others: `renew` does that.
        timeout: Seconds to wait, connecting included. None waits for ever, 0 tries once.
        use_observed_time: As for `LeaseLocker`.
        max_clock_skew: As for `LeaseLocker`.
        on_position: Called from this thread with the position in the queue, as for `zkcoord.lock`.

    Returns:
        A `Taken`; None when the time ran out.

    Raises:
        ConnectionLost: At the end of the time nobody could say whether the lease is held. It is given back in the
            background, and ends by the clock in any case.
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
        # A greenlet was interrupted when the answer was here already. What the owner held before it keeps.
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
    """Renew a lease that its owner holds by name, from any process. Also one that is over, while nobody else has it.

    Args:
        path: The record's znode.
        owner: Who holds it.
        lease_duration: Seconds for which it is held from now on. Default: as many as before.
        timeout: Seconds for the whole call. It is obeyed through an outage. Default: ``connect_timeout``.

    Returns:
        The seconds for which it is held from now on, which count from before the request was sent; None where the owner
        does not hold it by name.

    Raises:
        ConnectionLost: It may have been renewed, or not.
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
        owner: Who holds it. None: whoever does. That takes the lease away from a holder who may be acting still.
        timeout: Seconds for the whole call. It is obeyed through an outage. Default: ``connect_timeout``.

    Returns:
        Whose lease this call has given back; None where the owner does not hold it.

    Raises:
        ConnectionLost: It may have been given back, or not.
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
        whoever asks next may have it), ``fencing_token`` (None: another program holds it) and ``by_name``.
        ``waiters``: a dict for each, in the order of the queue, with ``owner``, ``position`` (1 is next), ``since``
        and ``age``.

    It takes two round trips.
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
    """List the leases right below a path. What is no lease is left out.

    Args:
        path: Any znode.
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``.

    Returns:
        A dict for each, in the order of their names: ``path``, ``holder`` and ``transitions`` as `status` has them, and
        ``waiting``, how many wait.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(lambda wait: _core.lease_list(path, settings, wait), timeout, cancel, raise_on_signal)
