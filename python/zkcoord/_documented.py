"""Parameters that many functions share, described once, and appended to their docstrings."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    _Function = TypeVar("_Function", bound=Callable[..., Any])

CONNECTION = """
    Connection:
        zk_hosts: The servers: ``host:port,host:port`` with an optional ``/chroot`` at the end, as text or as a list.
            The port is 2181 unless given. IPv6 addresses go in brackets. Default: ``127.0.0.1:2181``.
        connection: A `zkcoord.Connection`, in place of ``zk_hosts`` and of all that follows.
        profile, config: Settings that the other arguments leave open are looked up in ``config``, a mapping such as
            ``{"hosts": ..., "prod": {"hosts": ...}}``. With ``profile="prod"`` they are looked up in its part of that
            name, which must be there. Secrets in it go only to the hosts in it, unless it has
            ``send_credentials_to_any_host: True``.
        config_get: A callable ``(key, default)`` in place of ``config``. It is asked for ``zookeeper:hosts``, or
            ``zookeeper:PROFILE:hosts``, and likewise for the others.
        scheme, username, password: Who the caller is: scheme ``digest``, the default, or ``sasl``.
        mechanism: How SASL is done: ``DIGEST-MD5``, or ``GSSAPI`` where it is built in.
        use_ssl: Whether to speak TLS. ``tcp+tls://`` before each server says the same.
        ca_certs: A file with the certificates of the authorities that vouch for the servers, in PEM format.
        certfile, keyfile, keyfile_password: The client's certificate, its key, and the password of an encrypted key.
        verify_certs: False accepts any server that the authority vouches for. Each call that names its settings itself
            then logs a warning, and so does the making of a `zkcoord.Connection`.
        default_acl: What created znodes permit: a dict or a list of them, each with ``username``, ``password`` and
            those of ``read``, ``write``, ``create``, ``delete``, ``admin``, ``allperms`` that are true; or with
            ``scheme``, ``id`` and ``perms``; or ``"creator_all"``. Default: everything to everybody.
        session_timeout: Seconds that the servers keep the session of a silent process. Default: 10.
        connect_timeout: Seconds for which a call tries to reach a server. Default: 10.
        idle_timeout: Seconds until a session ends that nobody uses. Default: 60.
        max_buffer: Bytes of the longest request that the servers take: their ``jute.maxbuffer``. Default: 1048575;
            before a longer request the servers are asked whether they take it.
"""

WAIT = """
    Ending a call:
        cancel: A `zkcoord.Cancel`. When another thread cancels it, the wait is undone, and `Cancelled` is raised.
        raise_on_signal: What SIGINT, SIGTERM and SIGHUP do while the main thread waits. False: the wait is undone, then
            the handler runs that was there before; if it returns, `Cancelled` is raised, unless the answer had come
            already. True: the wait is undone, and `Cancelled` is raised without running the handler. In a greenlet of
            gevent it is gevent that runs handlers: an exception that reaches the waiting greenlet
            (``KeyboardInterrupt``, ``GreenletExit``, ``gevent.Timeout``) undoes the wait, and is raised.
"""

ERRORS = """
    Raises:
        ArgumentError: An argument is wrong. Nothing was changed.
        Unreachable: No server answered in time.
        TlsFailed: No server can be used, for its certificate, for ours, or for want of TLS.
        AuthFailed, NoAuth: The servers refuse the credentials, or an ACL forbids what was needed.
        Cancelled: The call was cancelled.
        OutOfResources: This process has no file descriptor, no thread or no memory left for the call.
        ServerError: The servers refuse the request for a reason of their own.

    While the call has time left, it replaces a connection that is lost, and a session that has expired.
"""


def documented(function: _Function) -> _Function:
    """Append what all functions share to the docstring of one. The function itself stays the same object.

    The docstring of a method is indented by more than that of a function, and Python 3.13 takes the indent away.
    """
    if function.__doc__ is not None:  # python -OO
        last = function.__doc__.rpartition("\n")[2]
        indent = last if last.strip() == "" else ""
        shared = (CONNECTION + WAIT + ERRORS).replace("\n    ", f"\n{indent}")
        function.__doc__ = function.__doc__.rstrip() + "\n" + shared + indent
    return function
