"""A client for scripts that were written for Ganeti's own ``ganeti.confd.client``."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from zkcoord import _core
from zkcoord._call import call
from zkcoord.confd import _node
from zkcoord.confd._constants import CONFD_CLIENT_EXPIRE_TIMEOUT, CONFD_PROTOCOL_VERSION, UPCALL_EXPIRE, UPCALL_REPLY
from zkcoord.confd._messages import ConfdReply, ConfdRequest, ConfdUpcallPayload
from zkcoord.errors import ArgumentError, ConfdClientError

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator


class _Pending(NamedTuple):
    request: ConfdRequest
    args: Any


class ConfdClient:
    """Sends requests to master candidates, and calls back with each reply, as Ganeti's own client does.

    A client has one socket, and one thread receives at a time. A datagram that is no reply to an open query is
    discarded, with a line in the debug log: nothing that comes from the network raises an exception, but a callback's
    own exceptions are raised. A child that was forked off has a socket of its own, and none of its parent's queries.

    Ganeti's client is part of asyncore, whose loop receives for it. This one receives in `ReceiveReply` and
    `WaitForReply` alone: a script with a loop of its own waits until `fileno` can be read, and calls
    ``ReceiveReply(0)`` then.
    """

    def __init__(
        self,
        hmac_key: bytes | str,
        peers: list[str],
        callback: Callable[[ConfdUpcallPayload], object],
        port: int | None = None,
        logger: logging.Logger | None = None,
        *,
        retries: int = 3,
    ) -> None:
        """Open the socket. Nothing is sent.

        Args:
            hmac_key: The content of ``hmac.key``, with its newline.
            peers: A list of the candidates' addresses, of one family.
            callback: It is called with a `ConfdUpcallPayload` for each reply, and for each query that expires.
            port: The port of ganeti-confd. Default: that in ``/etc/services``, or 1814.
            logger: Gets a line about each discarded datagram, at the level of debugging.
            retries: How often a request is sent again while somebody waits: 0 to 3.

        Raises:
            ConfdClientError: The callback, a peer, the key or a number is not valid.
            OutOfResources: This process cannot open a socket.
        """
        if not callable(callback):
            raise ConfdClientError("callback: must be callable")
        _check_list(peers)
        with _client_errors():
            self._core = _core.ConfdSocket(hmac_key, peers, _node.port() if port is None else port, retries)
        self._callback = callback
        self._logger = logger
        self._pid = os.getpid()
        self._requests: dict[str, _Pending] = {}
        self._expired: list[str] = []

    def fileno(self) -> int:
        """Return the descriptor of the socket, for a loop that waits for several.

        The socket is another one in a forked child, and after ``UpdatePeerList`` with peers of the other family.
        """
        return self._core.fileno()

    def UpdatePeerList(self, peers: list[str]) -> None:
        """Take other peers, from the next request on.

        Raises:
            ConfdClientError: This is no list of addresses of one family, or an empty one. The peers stay as they were.
        """
        _check_list(peers)
        with _client_errors():
            self._core.update_peers(peers)

    def SendRequest(self, request: ConfdRequest, args: Any = None, coverage: int = 0, async_: bool = True) -> None:
        """Send a request to some peers.

        Args:
            request: What to ask.
            args: Passed on to the callback, as ``extra_args``.
            coverage: How many are asked: 0 is six of them, or all where there are fewer; -1 is all.
            async_: Whether Ganeti's client would leave the sending to asyncore. Here the request is sent at once.

        Raises:
            ConfdClientError: There are fewer peers than ``coverage``; the salt is missing, or that of another open
                request; or the servers would not answer such a request. Nothing was sent.
        """
        del async_
        self.ExpireRequests()
        salt = request.rsalt or ""  # the core refuses an empty one
        # The request is noted before it is sent, because another thread may receive the reply at once.
        is_new = self._requests.setdefault(salt, pending := _Pending(request, args)) is pending
        try:
            with _client_errors():
                self._core.send(request.type, request.query, salt, coverage)
        except BaseException:
            if is_new:
                del self._requests[salt]
            raise

    def FlushSendQueue(self) -> None:
        """Send the datagrams that the system did not take before. All others were sent at once."""
        self._core.flush()

    def HandleResponse(self, payload: bytes, ip: str, port: int) -> None:
        """Take a datagram that somebody else has received, from an address and a port.

        Raises:
            ConfdClientError: ``payload`` is not bytes, or ``ip`` is no address.
        """
        if not isinstance(payload, bytes):
            raise ConfdClientError("payload: must be bytes")
        with _client_errors():
            meaning = self._core.handle(payload, ip)
        self._handle(meaning, ip, port)

    def ReceiveReply(self, timeout: float = 1) -> bool:
        """Wait for one datagram, and call back if it is a reply that counts.

        Args:
            timeout: Seconds to wait; 0 takes a datagram that is there already.

        Returns:
            Whether a datagram came.
        """
        with _client_errors():
            came = call(self._core.receive, timeout, None, False)
        if came is None:
            self.ExpireRequests()
            return False
        ip, port, meaning = came
        self._handle(meaning, ip, port)
        return True

    def WaitForReply(self, salt: str, timeout: float = CONFD_CLIENT_EXPIRE_TIMEOUT) -> tuple[bool, int, int]:
        """Wait until enough peers have replied to a request, and call back with each reply meanwhile.

        Args:
            salt: The salt of the request, which expires ``timeout`` seconds later than it would have.
            timeout: Seconds to wait. The wait ends with the last reply that is needed, or when the time is up, and not
                only at a full second.

        Returns:
            ``(timed_out, asked, replied)``; ``(True, 0, 0)`` for a request that is not open.
        """
        if not isinstance(salt, str) or self._core.counts(salt) is None:
            return True, 0, 0
        with _client_errors():
            self._core.await_for(salt, timeout)
        end = time.monotonic() + float(timeout)
        while (counts := self._core.counts(salt)) is not None:
            asked, replied, is_answered = counts
            left = end - time.monotonic()
            if is_answered or left <= 0:
                return not is_answered, asked, replied
            self.ReceiveReply(left)
        return True, 0, 0

    def ExpireRequests(self) -> None:
        """Forget the requests whose time is up, and call back for each.

        An exception of a callback is raised, and the next call goes on with the others.
        """
        self._forget_the_parents()
        self._expired += self._core.expire()
        while self._expired:
            salt = self._expired.pop(0)
            if (pending := self._requests.pop(salt, None)) is not None:
                self._callback(self._payload(salt, UPCALL_EXPIRE, pending))

    @staticmethod
    def _NeededReplies(peer_cnt: int) -> int:
        """Return how many replies are enough where so many peers were asked: 1, 2, 2, 3, 3, 4, 4 of 1 to 7."""
        return _core.confd_needed(peer_cnt)

    def _handle(self, meaning: tuple[str, int, Any, int] | str, ip: str, port: int) -> None:
        try:
            if isinstance(meaning, str):
                if self._logger is not None:
                    self._logger.debug("discarded a datagram from %s: %s", ip, meaning)
                return
            salt, status, answer, serial = meaning
            if (pending := self._requests.get(salt)) is None:  # the request has expired in another thread
                return
            reply = ConfdReply(protocol=CONFD_PROTOCOL_VERSION, status=status, answer=answer, serial=serial)
            about = {"server_reply": reply, "server_ip": ip, "server_port": port}
            self._callback(self._payload(salt, UPCALL_REPLY, pending, **about))
        finally:
            self.ExpireRequests()

    def _payload(self, salt: str, kind: int, pending: _Pending, **about: Any) -> ConfdUpcallPayload:
        return ConfdUpcallPayload(
            salt=salt, type=kind, orig_request=pending.request, extra_args=pending.args, client=self, **about
        )

    def _forget_the_parents(self) -> None:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._requests.clear()
            self._expired.clear()


def GetConfdClient(callback: Callable[[ConfdUpcallPayload], object]) -> ConfdClient:
    """Return a client with the candidates, the key and the port that this node of a cluster has.

    Raises:
        ConfdClientError: This is no node of a cluster.
    """
    with _client_errors():
        key, peers = _node.hmac_key(), _node.candidates()
    return ConfdClient(key, peers, callback)


def _check_list(peers: object) -> None:
    if not isinstance(peers, list):
        raise ConfdClientError("peers: must be a list of addresses")


@contextlib.contextmanager
def _client_errors() -> Iterator[None]:
    """Raise `ConfdClientError`, as Ganeti's client does, where the core refuses an argument."""
    try:
        yield
    except ConfdClientError:
        raise
    except ArgumentError as err:
        raise ConfdClientError(str(err)) from None
