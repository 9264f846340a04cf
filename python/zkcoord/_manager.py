"""The classes of Charmed ZooKeeper's library, made of calls to the core of zkcoord."""

from __future__ import annotations

import contextlib
import time

from zkcoord import _core, znode
from zkcoord._servers import Servers, listed, named, server
from zkcoord._words import Answer, is_broadcasting
from zkcoord.errors import (
    ArgumentError,
    MembersSyncingError,
    NotServing,
    NoUnitFoundError,
    QuorumLeaderNotFoundError,
    Unreachable,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from zkcoord._types import Acl, AclEntry, File, Scalar

# The part of a call's time in which the server that has led before may answer; and the fewest seconds for a question.
_PART = 0.4
_LEAST = 0.001


class ZooKeeperManager(Servers):
    """An ensemble: its members, its leader, and its znodes.

    All calls share one session, which the first call that needs one opens. Znodes and the configuration are read as new
    as the leader's state, whichever server answers. Whether a server is in sync, that server itself is asked.
    """

    def __init__(
        self,
        hosts: list[str] | str | None,
        username: Scalar | None = None,
        password: Scalar | None = None,
        client_port: int = 2181,
        use_ssl: bool | None = False,
        keyfile_path: File | None = "",
        keyfile_password: Scalar | None = "",
        certfile_path: File | None = "",
        read_only: bool = False,
        *,
        scheme: str | None = "sasl",
        ca_certs: File | None = None,
        verify_certs: bool = True,
        mechanism: str | None = None,
        timeout: float = 10,
        admin_port: int | None = None,
        profile: Scalar | None = None,
        config: Mapping[str, Any] | None = None,
        config_get: Callable[[str, Any], Any] | None = None,
    ) -> None:
        """Find the leader, or with ``read_only`` any server that serves.

        Args:
            hosts: The servers, each ``host`` or ``host:port``; IPv6 with or without brackets. A text may have commas.
                None: those of the profile.
            username, password: Who the caller is. Default: nobody.
            client_port: The port of hosts that are named without one.
            use_ssl: Speak TLS.
            keyfile_path, keyfile_password, certfile_path: The client's key and certificate.
            read_only: True: find any server that serves. No server has to lead.
            scheme: ``sasl``, which the servers must be able to do, or ``digest``.
            ca_certs: The authorities that vouch for the servers; needed with TLS.
            verify_certs: False accepts any server that the authority vouches for.
            mechanism: How SASL is done: ``DIGEST-MD5``, or ``GSSAPI`` where it is built in.
            timeout: Seconds for each call as a whole.
            admin_port: The port of the AdminServers. Default: 8080; 0 for none.
            profile, config, config_get: As for `zkcoord.Connection`, for what the other arguments leave open.

        Raises:
            QuorumLeaderNotFoundError: None of the servers leads. The message has what each of them says.
            NoUnitFoundError: With ``read_only``, none of the servers serves.
            ArgumentError: An argument is wrong.
        """
        given = named(hosts)
        super().__init__(
            given,
            username,
            password,
            client_port,
            use_ssl,
            keyfile_path,
            keyfile_password,
            certfile_path,
            scheme,
            ca_certs,
            verify_certs,
            mechanism,
            timeout,
            admin_port,
            profile,
            config,
            config_get,
        )
        configured = [part.rpartition("//")[2].partition("/")[0] for part in self._settings.hosts.split(",")]
        self.hosts = configured if given is None else given
        self.client_port = client_port
        self.read_only = read_only
        self._names = {server(host, client_port): host for host in self.hosts}
        self._alone: dict[str, _core.Settings] = {}
        self.zk_host = self.get_any_unit() if read_only else self.get_leader()

    def get_leader(self) -> str:
        """Find the server that leads, and return it as it was named. An election is waited for, three seconds at most.

        Raises:
            QuorumLeaderNotFoundError: None of the servers leads. The message has what each of them says.
        """
        return self._find_leader(self.timeout)

    def _find_leader(self, timeout: float) -> str:
        leader = self._call(lambda wait: _core.ensemble_leader(self.admin_port, self._settings, wait), timeout)
        self.zk_host = self._names.get(leader, leader)
        return self.zk_host

    def get_any_unit(self) -> str:
        """Find a server that serves, and return it as it was named: the first of them in the order of the hosts.

        Raises:
            NoUnitFoundError: None of the servers serves. The message has what each of them says.
        """
        answers = self._ask("srvr", self._settings, hurried=True)
        found = next((name for name, answer in answers.items() if isinstance(answer, Answer)), None)
        if found is None:
            raise NoUnitFoundError("no server serves: " + "; ".join(map(str, answers.values())))
        return self._names.get(found, found)

    @property
    def server_members(self) -> set[str]:
        """The members: ``{"server.1=10.1.2.3:2888:3888:participant;0.0.0.0:2181", ...}``."""
        return {line for line in self._config()[0] if line.startswith("server.")}

    @property
    def config_version(self) -> int:
        """The version of the ensemble's configuration."""
        return self._config()[1]

    @property
    def members_syncing(self) -> bool:
        """Whether any of the hosts is catching up: it runs, and does not serve yet.

        Raises:
            QuorumLeaderNotFoundError: None of the hosts leads.
        """
        end = time.monotonic() + self.timeout
        answers = self._ask("srvr", self._settings, hurried=True)
        leads = (name for name, answer in answers.items() if _leads(answer))
        leader = next(leads, None)
        if leader is None:
            self._find_leader(max(end - time.monotonic(), _LEAST))
        else:
            self.zk_host = self._names.get(leader, leader)
        return any(isinstance(answer, NotServing) for answer in answers.values())

    @property
    def members_broadcasting(self) -> bool:
        """Whether every one of the hosts is up, and in sync."""
        return all(is_broadcasting(answer) for answer in self._ask("srvr", self._settings, hurried=True).values())

    def add_members(self, members: Iterable[str]) -> None:
        """Add servers to the ensemble, one at a time, each when all before it are in sync.

        A change is sent only if the ensemble survives it. The servers carry it out only at the version of the
        configuration from which that was decided. A line that the configuration has already changes nothing.

        Args:
            members: Lines such as ``server.4=10.1.2.6:2888:3888:participant;0.0.0.0:2181``.

        Raises:
            MembersSyncingError: Members are catching up.
            MemberNotReadyError: A server that is to join does not answer, or does not serve.
            NoQuorum, UnsafeStep, ReconfigConflict, ReconfigInProgress, ReconfigDisabled, ReconfigForbidden: As for
                `zkcoord.ensemble.add_member`.
        """
        lines = [_core.ensemble_member(line)[4] for line in _listed(members)]
        self._steps([("join", line) for line in lines])

    def remove_members(self, members: Iterable[str]) -> None:
        """Remove servers from the ensemble, one at a time, each once all that stay are in sync.

        Args:
            members: Lines such as those of `server_members`, or ids: ``server.4``, ``4``. A server that is no member is
                skipped.

        Raises:
            ArgumentError: A text is neither the line of a member nor an id.
            UnsafeStep: The member with this id has another address; or nobody would be left who can lead.
            MembersSyncingError, NoQuorum, UnsafeStep, ReconfigConflict, ReconfigInProgress, ReconfigDisabled,
                ReconfigForbidden: As for `zkcoord.ensemble.remove_member`.
        """
        self._steps([("leave", _id(member)) for member in _listed(members)])

    def leader_znodes(self, path: str) -> set[str]:
        """List a znode and all znodes below it, without ZooKeeper's own and without the root itself.

        Args:
            path: The znode. A slash at its end is ignored.

        Raises:
            NoNode: The znode does not exist. One below it that is deleted meanwhile may be listed or not.
        """
        return self._tree(path)

    def create_znode_leader(self, path: str, acls: Acl | Iterable[AclEntry] | None = None) -> None:
        """Create a znode, and its parents where they are missing.

        Args:
            path: The znode.
            acls: What it permits: entries as in ``default_acl``, or kazoo's. None: everything to everybody, unless the
                profile has a ``default_acl``.

        Raises:
            NodeExists: There is such a znode already, whatever it permits.
        """
        self._create(path, acls)

    def set_acls_znode_leader(self, path: str, acls: Acl | Iterable[AclEntry] | None = None) -> None:
        """Change what a znode permits.

        Args:
            path: The znode.
            acls: As for `create_znode_leader`; None means the same as there.

        Raises:
            NoNode: There is no such znode.
        """
        self._set_acls(path, acls)

    def delete_znode_leader(self, path: str) -> None:
        """Delete a znode and all below it. A znode that does not exist, or is deleted meanwhile, is no error.

        Args:
            path: The znode.
        """
        self._delete(path)

    def get_version(self) -> str:
        """Tell the version of ZooKeeper, as ``3.8.0``, of the leader, or with ``read_only`` of the server found."""
        answer = self._of(self.zk_host, self.timeout) if self.read_only else self._of_leader()
        return answer["Zookeeper version"].split(",")[0].split("-")[0]

    def _steps(self, steps: list[tuple[str, str | int]]) -> None:
        """Take steps, all within the time of one call."""
        end = time.monotonic() + self.timeout
        for number, (kind, argument) in enumerate(steps):
            rest = end - time.monotonic()
            if rest <= 0:
                left = ", ".join(str(it) for _, it in steps[number:])
                raise MembersSyncingError(f"no time is left after {self.timeout:g} s; not done: {kind} {left}")
            self._take(kind, argument, rest)

    def _take(self, kind: str, argument: str | int, timeout: float) -> None:
        self._call(
            lambda wait: _core.ensemble_step(kind, argument, None, None, self.admin_port, self._settings, wait), timeout
        )

    def _of(self, host: str, timeout: float) -> Answer:
        """Ask one server what it is."""
        name = server(host, self.client_port)
        if name not in self._alone:
            self._alone[name] = self._connect([name])._settings
        answer = next(iter(self._ask("srvr", self._alone[name], timeout).values()))
        if isinstance(answer, Answer):
            return answer
        raise answer

    def _of_leader(self) -> Answer:
        """Ask the leader what it is, and look for it once more where the server that has led leads no more."""
        end = time.monotonic() + self.timeout
        for part in (_PART, 1.0):
            with contextlib.suppress(NotServing, Unreachable):
                answer = self._of(self.zk_host, max((end - time.monotonic()) * part, _LEAST))
                if _leads(answer):
                    return answer
            self._find_leader(max(end - time.monotonic(), _LEAST))
        raise QuorumLeaderNotFoundError(f"{self.zk_host} has just led, and leads no more")


class ZooKeeperClient(Servers):
    """One server: what it says of itself, and the znodes that it knows."""

    def __init__(
        self,
        host: str,
        client_port: int = 2181,
        username: Scalar | None = None,
        password: Scalar | None = None,
        use_ssl: bool | None = False,
        keyfile_path: File | None = None,
        keyfile_password: Scalar | None = None,
        certfile_path: File | None = None,
        *,
        scheme: str | None = "sasl",
        ca_certs: File | None = None,
        verify_certs: bool = True,
        mechanism: str | None = None,
        timeout: float = 10,
        admin_port: int | None = None,
        profile: Scalar | None = None,
        config: Mapping[str, Any] | None = None,
        config_get: Callable[[str, Any], Any] | None = None,
    ) -> None:
        """Take a server. Nothing is sent before something is asked.

        Args:
            host: The server, ``host`` or ``host:port``; IPv6 with or without brackets.
            client_port, username, password, use_ssl, keyfile_path, keyfile_password, certfile_path: As for
                `ZooKeeperManager`.
            scheme, ca_certs, verify_certs, mechanism, timeout, admin_port, profile, config, config_get: Likewise.
        """
        super().__init__(
            [host],
            username,
            password,
            client_port,
            use_ssl,
            keyfile_path,
            keyfile_password,
            certfile_path,
            scheme,
            ca_certs,
            verify_certs,
            mechanism,
            timeout,
            admin_port,
            profile,
            config,
            config_get,
        )
        self.host = host
        self.client_port = client_port

    @property
    def config(self) -> tuple[list[str], int]:
        """The lines of the ensemble's configuration, and its version. A server that stands alone has none, and 0."""
        return self._config()

    @property
    def srvr(self) -> Answer:
        """What the server answers to ``srvr``, by name. A value is the whole rest of the line behind the name.

        Raises:
            NotServing, WordRefused, NoAnswer, Unreachable: There is no answer.
        """
        return self._answer("srvr")

    @property
    def mntr(self) -> Answer:
        """What the server answers to ``mntr``, by name, in full however long it is.

        Raises:
            NotServing, WordRefused, NoAnswer, Unreachable: There is no answer.
        """
        return self._answer("mntr")

    @property
    def is_ready(self) -> bool:
        """Whether the server is up and part of an ensemble, in sync. One that stands alone is not."""
        return all(is_broadcasting(answer) for answer in self._ask("srvr", self._settings).values())

    def get_all_znode_children(self, path: str) -> set[str]:
        """List a znode and all below it, as `ZooKeeperManager.leader_znodes` does."""
        return self._tree(path)

    def delete_znode(self, path: str) -> None:
        """Delete a znode and all below it. A znode that does not exist, or is deleted meanwhile, is no error."""
        self._delete(path)

    def create_znode(self, path: str, acls: Acl | Iterable[AclEntry] | None = None) -> None:
        """Create a znode, as `ZooKeeperManager.create_znode_leader` does."""
        self._create(path, acls)

    def get_acls(self, path: str) -> list[AclEntry]:
        """Tell what a znode permits: entries, each ``(permissions, (scheme, id))``.

        Raises:
            NoNode: There is no such znode.
        """
        return znode.get_acls(path, connection=self._connection, timeout=self.timeout)

    def set_acls(self, path: str, acls: Acl | Iterable[AclEntry] | None = None) -> None:
        """Change what a znode permits, as `ZooKeeperManager.set_acls_znode_leader` does."""
        self._set_acls(path, acls)

    def _answer(self, word: str) -> Answer:
        answer = next(iter(self._ask(word, self._settings).values()))
        if isinstance(answer, Answer):
            return answer
        raise answer


def _leads(answer: Answer | Exception) -> bool:
    return isinstance(answer, Answer) and answer.get("Mode") == "leader"


def _listed(members: Iterable[str]) -> list[Any]:
    return [members] if isinstance(members, (str, int)) else listed("members", members)


def _id(member: object) -> int | str:
    """The line of a member, if it is one, or its id."""
    text = str(member).strip()
    if "=" in text:
        return _core.ensemble_member(text)[4]
    number = text.removeprefix("server.")
    if not number.isascii() or not number.isdigit():
        raise ArgumentError(f"members: {text[:120]!a} is no member; give server.ID=..., server.ID, or the id")
    return int(number)
