"""Which servers, as whom, and for how long: resolved once, and passed on."""

from __future__ import annotations

from _collections_abc import Mapping  # `os` has it loaded; `collections.abc` would take longer than all else here

from zkcoord._call import call
from zkcoord._configuration import NAMES, configured
from zkcoord._core import Settings, profile_name
from zkcoord.errors import ArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self
    from zkcoord._types import Acl, File, Hosts, Scalar

__all__ = ["Connection"]

_KNOWN = frozenset(("zk_hosts", "profile", "config", "config_get", *NAMES))
# The settings of calls that name their servers and nothing else, by the servers: to read them anew took 10 us a call.
_of_hosts: dict[str, Settings] = {}
_MOST_REMEMBERED = 100


class Connection:
    """The settings of a connection, resolved once: an argument wins over the profile, and the profile over the default.

    A connection is frozen and can be hashed. Equal ones share one session. It opens with the first call that needs it,
    and ends when no call has used it for `idle_timeout` seconds; never while a wait or an ephemeral znode needs it.
    """

    __slots__ = ("_settings",)
    _settings: Settings

    def __init__(
        self,
        zk_hosts: Hosts | None = None,
        *,
        profile: Scalar | None = None,
        config: Mapping[str, Any] | None = None,
        config_get: Callable[[str, Any], Any] | None = None,
        scheme: str | None = None,
        mechanism: str | None = None,
        username: Scalar | None = None,
        password: Scalar | None = None,
        default_acl: Acl | None = None,
        use_ssl: bool | None = None,
        ca_certs: File | None = None,
        certfile: File | None = None,
        keyfile: File | None = None,
        keyfile_password: Scalar | None = None,
        verify_certs: bool | None = None,
        session_timeout: float | None = None,
        connect_timeout: float | None = None,
        idle_timeout: float | None = None,
        max_buffer: int | None = None,
    ) -> None:
        """Resolve the settings. Nothing is sent.

        Args:
            zk_hosts: The servers: ``host:port,host:port`` with an optional ``/chroot`` at the end, as text or as a
                list. The port is 2181 unless given. IPv6 addresses go in brackets. Default: ``127.0.0.1:2181``.
            profile: The name of a part of the configuration. It must be there, and configure something.
            config: A mapping such as ``{"hosts": ..., "prod": {"hosts": ..., "username": ...}}``, in which the settings
                are looked up that the other arguments leave open. Secrets in it go only to the hosts in it, unless it
                has ``send_credentials_to_any_host: True``. A key that is almost the name of a setting is an error.
            config_get: A callable ``(key, default)`` in place of ``config``, such as Salt's ``config.get``.
            scheme: How the caller tells who it is: ``digest``, the default, or ``sasl``.
            mechanism: How SASL is done: ``DIGEST-MD5``, or ``GSSAPI`` where it is built in.
            username: Who the caller is.
            password: The password of ``username``. It is not shown anywhere.
            default_acl: What created znodes permit. Default: everything to everybody.
            use_ssl: Whether to speak TLS. ``tcp+tls://`` before each server says the same.
            ca_certs: A file with the certificates of the authorities that vouch for the servers.
            certfile: A file with the client's certificate.
            keyfile: A file with the key of the certificate. Default: the same file.
            keyfile_password: The password of an encrypted key.
            verify_certs: False accepts any server that the authority vouches for, and logs a warning.
            session_timeout: Seconds that the servers keep the session of a silent process. Default: 10.
            connect_timeout: Seconds for which a call tries to reach a server. Default: 10.
            idle_timeout: Seconds until a session ends that nobody uses. Default: 60.
            max_buffer: Bytes of the longest request that the servers take: their ``jute.maxbuffer``. Default: 1048575;
                before a longer request the servers are asked whether they take it.

        Raises:
            ArgumentError: A setting is wrong, or two contradict each other. The profile configures nothing. A
                configured password would go to servers that the configuration does not name.
        """
        given = {
            "scheme": scheme,
            "mechanism": mechanism,
            "username": username,
            "password": password,
            "default_acl": default_acl,
            "use_ssl": use_ssl,
            "ca_certs": ca_certs,
            "certfile": certfile,
            "keyfile": keyfile,
            "keyfile_password": keyfile_password,
            "verify_certs": verify_certs,
            "session_timeout": session_timeout,
            "connect_timeout": connect_timeout,
            "idle_timeout": idle_timeout,
            "max_buffer": max_buffer,
        }
        settings = _resolve(zk_hosts, given, profile, config, config_get)
        object.__setattr__(self, "_settings", settings)

    @property
    def hosts(self) -> str:
        """The connect string, with its chroot."""
        return self._settings.hosts

    @property
    def user(self) -> str:
        """Who the caller is: ``scheme:name``, or ``anonymous``."""
        return self._settings.user

    @property
    def session_timeout(self) -> float:
        """Seconds that the servers keep the session of a silent process."""
        return self._settings.session_timeout

    @property
    def connect_timeout(self) -> float:
        """Seconds for which a call tries to reach a server."""
        return self._settings.connect_timeout

    @property
    def idle_timeout(self) -> float:
        """Seconds until a session ends that nobody uses."""
        return self._settings.idle_timeout

    @property
    def max_buffer(self) -> int:
        """Bytes of the longest request that the servers are taken to accept, before they are asked."""
        return self._settings.max_buffer

    def close(self) -> None:
        """End the session of this connection now, and with it its ephemeral leases.

        A call under way begins anew in a new session, a wait at the end of the queue, and later calls open one as well.
        This call waits up to one second until the servers have heard of the end. In a forked child it does not end the
        session of the parent.
        """
        call(lambda _: self._settings.close(), None, None, False)

    def __enter__(self) -> Self:
        """Return the connection itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse to change what is frozen."""
        raise AttributeError(f"a Connection is frozen: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        """Refuse to change what is frozen."""
        raise AttributeError(f"a Connection is frozen: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        """Tell whether the settings are the same."""
        return self._settings == other._settings if isinstance(other, Connection) else NotImplemented

    def __hash__(self) -> int:
        """Return a hash of the settings."""
        return hash(self._settings)

    def __repr__(self) -> str:
        """Show the servers, the user and the times. No password is shown."""
        times = f"session_timeout={self.session_timeout:g}, connect_timeout={self.connect_timeout:g}"
        return f"Connection({self.hosts!r}, user={self.user!r}, {times}, idle_timeout={self.idle_timeout:g})"


def connection_for(zk_hosts: Hosts | None, connection: Connection | None, keywords: Mapping[str, Any]) -> Connection:
    """Return the connection for all calls of an object, from the arguments that the object was made with."""
    if connection is None:
        return Connection(zk_hosts, **keywords)
    if zk_hosts is not None or keywords:
        raise ArgumentError("connection: is given, and so is a setting which it stands for")
    return connection


def settings_for(zk_hosts: Hosts | None, connection: Connection | None, keywords: Mapping[str, Any]) -> Settings:
    """Return the settings that the arguments of one call stand for."""
    if connection is not None:
        if not isinstance(connection, Connection):
            raise ArgumentError("connection: must be a zkcoord.Connection")
        given = [name for name, value in {"zk_hosts": zk_hosts, **keywords}.items() if value is not None]
        if given:
            raise ArgumentError(f"connection: is given, and so is {given[0]}, which it stands for")
        return connection._settings
    if not _KNOWN.issuperset(keywords):
        unknown = sorted(keywords.keys() - _KNOWN)[0]
        raise ArgumentError(f"keyword: {ascii(unknown)[1:-1]} is not known here")
    if type(zk_hosts) is str and not [value for value in keywords.values() if value is not None]:
        return _only_hosts(zk_hosts)
    return _resolve(zk_hosts, keywords, keywords.get("profile"), keywords.get("config"), keywords.get("config_get"))


def _only_hosts(zk_hosts: str) -> Settings:
    settings = _of_hosts.get(zk_hosts)
    if settings is None:
        settings = _resolve(zk_hosts, {}, None, None, None)
        if len(_of_hosts) == _MOST_REMEMBERED:
            _of_hosts.clear()
        _of_hosts[zk_hosts] = settings
    return settings


def _resolve(
    zk_hosts: Hosts | None,
    given: Mapping[str, Any],
    profile: Scalar | None,
    config: Mapping[str, Any] | None,
    config_get: Callable[[str, Any], Any] | None,
) -> Settings:
    explicit = {name: given[name] for name in NAMES if given.get(name) is not None}
    if zk_hosts is not None:
        explicit["hosts"] = zk_hosts
    name = None if profile is None else profile_name(profile) or None
    found, section = configured(explicit, name, config, config_get)
    return Settings(explicit, found, name, section)
