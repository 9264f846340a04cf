"""One question to the master candidates, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from zkcoord import _core
from zkcoord._call import wait_for
from zkcoord.confd import _node
from zkcoord.confd._answer import Answer, PeerReply
from zkcoord.confd._constants import CONFD_CLIENT_EXPIRE_TIMEOUT, TYPES
from zkcoord.confd._documented import documented_query

if TYPE_CHECKING:
    from collections.abc import Sequence


class Asking(TypedDict, total=False):
    """Whom to ask, and how long to wait: the keywords of every question."""

    peers: Sequence[str] | None
    hmac_key: bytes | str | None
    port: int | None
    coverage: int
    replies: int | None
    timeout: float
    retries: int
    cancel: _core.Cancel | None
    raise_on_signal: bool


class Trusting(Asking, total=False):
    """The keywords of `Asking`, and which answers are trusted."""

    require_quorum: bool
    require_consistent: bool


@documented_query
def query(
    type: int | str,
    query: str | Mapping[str, Any] | None = None,
    *,
    peers: Sequence[str] | None = None,
    hmac_key: bytes | str | None = None,
    port: int | None = None,
    coverage: int = 0,
    replies: int | None = None,
    timeout: float = CONFD_CLIENT_EXPIRE_TIMEOUT,
    retries: int = 3,
    secrets: bool = True,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
) -> Answer:
    """Ask the master candidates, and return what has come when enough of them have replied, or when the time is up.

    Args:
        type: The type of the request: its number, or its name, such as ``cluster_master``.
        query: What is asked for: a text, a dict such as ``{"1": "198.51.100.1", "0": "br0"}``, or nothing. It depends
            on the type.
        secrets: False leaves the secrets of DRBD disks, and private parameters, out of the answer.

    Returns:
        An `Answer`, also where no peer has replied: see its ``timed_out``. Its ``result()`` returns the answer if that
        can be trusted, and raises an error if not.

    Source: Ganeti's design of confd. The call waits for as many replies as ``_NeededReplies`` in Ganeti's client says:
    1, 2, 2, 3, 3, 4, 4 of 1 to 7 peers. Its documentation has 2 of 4, which its code does not do. An error of a
    server's own, such as a configuration that it cannot read, does not count: the wait goes on until enough replies
    tell of the cluster, or all peers have replied.
    """
    number = TYPES.index(type) if isinstance(type, str) and type in TYPES else type
    peers = _node.candidates() if peers is None else peers
    key = _node.hmac_key() if hmac_key is None else hmac_key
    port = _node.port() if port is None else port
    asked = dict(query) if isinstance(query, Mapping) else query
    salt = _core.confd_salt()
    options = (coverage, replies, retries, secrets)
    found = wait_for(
        lambda wait, _: _core.confd_query(key, peers, port, number, asked, salt, *options, wait),
        timeout,
        cancel,
        raise_on_signal,
    )
    status, answer, serial, consistent, needed, answered, timed_out, replies_, discarded, key_is_stripped = found
    by_peer = {peer: PeerReply(*reply) for peer, *reply in replies_}
    return Answer(
        type=TYPES[int(number)],
        query=query,
        answer=answer,
        status=status,
        serial=serial,
        consistent=consistent,
        asked=len(by_peer),
        replied=sum(reply.status is not None for reply in by_peer.values()),
        answered=answered,
        needed=needed,
        timed_out=timed_out,
        by_peer=by_peer,
        timeout=float(timeout),
        discarded=tuple(discarded),
        key_is_stripped=key_is_stripped,
    )
