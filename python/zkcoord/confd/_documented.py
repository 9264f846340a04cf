"""Parameters that all functions here share, described once, and appended to their docstrings."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    _Function = TypeVar("_Function", bound=Callable[..., Any])

ASKING = """
    Asking:
        peers: The addresses of the master candidates, a list of texts of one family. Host names are not looked up.
            Default: those in ``ssconf_master_candidates_ips``, which a node of the cluster has.
        hmac_key: The content of ``hmac.key``, bytes or text, with its newline. Default: the node's own.
        port: The port of ganeti-confd. Default: that in ``/etc/services``, or 1814.
        coverage: How many peers are asked: 0, the default, is six of them, or all where there are fewer; -1 is all.
        replies: How many replies to wait for: -1 is all that are asked. Default: all of one or two, all but one of
            three or four, a majority of more. An error of a server's own, such as a configuration that it cannot
            read, does not count.
        timeout: Seconds to wait for the replies, a year at most. Default: 10. 0 sends the request, and takes the
            replies that are there at once.
        retries: How often a request is sent again, within ``timeout``, to those who have not replied: 0 to 3, the
            default.
        cancel: A `zkcoord.Cancel`. When another thread cancels it, the call ends with `Cancelled`.
        raise_on_signal: What SIGINT, SIGTERM and SIGHUP do while the main thread waits. False: the handler runs that
            was there before, and what it raises ends the wait. True: `Cancelled` is raised instead.
"""

TRUST = """
    Trust:
        require_quorum: False takes an answer though fewer replies tell of the cluster than were waited for.
        require_consistent: False takes one though the peers contradict each other: the one that most of them give.
"""

ASKING_ERRORS = """
    Raises:
        ArgumentError: An argument is wrong, or the servers would not answer such a query. Nothing was sent.
        OutOfResources: This process cannot open a socket.
        Cancelled: The call was cancelled.
"""

ERRORS = """
    Raises:
        ArgumentError: An argument is wrong, or the servers would not answer such a query. Nothing was sent.
        Unreachable: No peer has replied in time.
        TooFewReplies: Some peers have replied, but fewer than were waited for, or some with an error of their own.
        Inconsistent: Peers contradict each other, and none of their answers is known to be newer.
        UnknownEntry: The configuration has no such entry.
        ServerError: The servers cannot answer, for a reason of their own.
        OutOfResources: This process cannot open a socket.
        Cancelled: The call was cancelled.

    The call changes nothing, so that it leaves nothing when it is cancelled, or not answered. A datagram that is lost
    is sent again. A server that is dead or stopped costs nothing while enough others reply.

    Source: Ganeti's design of confd, and the request of this name in its ``constants``.
"""


def _indented(text: str) -> str:
    """Return a text as it is appended to a docstring: Python 3.13 takes the indentation out of those."""
    text = f"\n{text}    "
    return text.replace("\n    ", "\n") if sys.version_info >= (3, 13) else text


def documented(function: _Function) -> _Function:
    """Append what all functions share to the docstring of one. The function itself stays the same object."""
    if function.__doc__ is not None:  # python -OO
        function.__doc__ = function.__doc__.rstrip() + _indented(ASKING + TRUST + ERRORS)
    return function


def documented_query(function: _Function) -> _Function:
    """As `documented`, for the function that answers with whatever has come."""
    if function.__doc__ is not None:
        function.__doc__ = function.__doc__.rstrip() + _indented(ASKING + ASKING_ERRORS)
    return function
