"""The classes of Charmed ZooKeeper's library, on this core."""

from __future__ import annotations

import time

from zkcoord import _core, znode
from zkcoord._servers import Servers, server
from zkcoord._words import Answer, is_broadcasting
from zkcoord.errors import (
    ArgumentError,
    MembersSyncingError,
    NotServing,
    NoUnitFoundError,
    QuorumLeaderNotFoundError,
    Unreachable,
    UnsafeStep,
    WordRefused,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from zkcoord._types import Acl, AclEntry, File, Scalar

_BROADCASTING = "leading - broadcast"


class ZooKeeperManager(Servers):
    """An ensemble: its members, its leader, and its znodes.

    All calls share one session, which is opened by the first that needs one. What is read is as new as the leader's
    state, whichever server answers, and whoever is asked about syncing is the leader.
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
            hosts: The servers, each ``host`` or ``host:port``; IPv6 with or without brackets. None: the profile's.
            username, password: Who the caller is. Default: nobody.
            client_port: The port of those that are named without one.
            use_ssl: Speak TLS.
            keyfile_path, keyfile_password, certfile_path: The client's key and certificate.
            read_only: Any server will do: no leader has to be there.
            scheme: ``sasl``, where the servers must do it, or ``digest``.
            ca_certs: The authorities that vouch for the servers; needed with TLS.
            verify_certs: False accepts any server that the authority vouches for.
            mechanism: How SASL is done: ``DIGEST-MD5``, or ``GSSAPI`` where it is built in.
            timeout: Seconds for each call as a whole.
            admin_port: The port of the AdminServers. Default: 8080; 0 for none.
            profile, config, config_get: As for `zkcoord.Connection`, for what the other arguments leave open.

        Raises:
            QuorumLeaderNotFoundError: None of them leads; what each says.
            NoUnitFoundError: With ``read_only``, none of them serves.
            ArgumentError: An argument is wrong.
        """
        named = [hosts] if isinstance(hosts, str) else hosts
        super().__init__(
            None if named is None else list(named),
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
        self.hosts = configured if named is None else list(named)
        self.client_port = client_port
        self.read_only = read_only
        self._names = {server(host, client_port): host for host in self.hosts}
        self._alone: dict[str, _core.Settings] = {}
        self.zk_host = self.get_any_unit() if read_only else self.get_leader()

    def get_leader(self) -> str:
        """Find the server that leads, as it was named. An election is waited for, three seconds at most.

        Raises:
            QuorumLeaderNotFoundError: None of them leads; what each says.
        """
        leader = self._call(lambda wait: _core.ensemble_leader(self.admin_port, self._settings, wait))
        self.zk_host = self._names.get(leader, leader)
        return self.zk_host

    def get_any_unit(self) -> str:
        """Find a server that serves, as it was named: the first in the order of the hosts.

        Raises:
            NoUnitFoundError: None of them does; what each says.
        """
        answers = self._ask("srvr", self._settings)
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
        """Whether the leader is bringing any server up to date, or does not serve yet itself.

        Raises:
            QuorumLeaderNotFoundError: None of the hosts leads.
            WordRefused: The leader answers ``mntr`` neither by itself nor by its AdminServer.
        """
        mntr = self._of_leader("mntr")
        return mntr.get("zk_peer_state") != _BROADCASTING or float(mntr.get("zk_pending_syncs", "0")) > 0

    @property
    def members_broadcasting(self) -> bool:
        """Whether every one of the hosts is up, and in sync."""
        mntr, srvr = self._ask("mntr", self._settings), {}
        if any(isinstance(answer, WordRefused) for answer in mntr.values()):
            srvr = self._ask("srvr", self._settings)
        return all(is_broadcasting(answer, srvr.get(name)) for name, answer in mntr.items())

    def add_members(self, members: Iterable[str]) -> None:
        """Add servers to the ensemble, one at a time, each once all that came before it are in sync.

        Each is sent only if the ensemble survives it, and for the version of the configuration that this was decided
        from. A member that is there already is none the worse.

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
            members: Lines as those of `server_members`, or ids: ``server.4``, ``4``. One that is no member is passed
                over.

        Raises:
            ArgumentError: That is no member; or one with this id is there, at another address.
            MembersSyncingError, NoQuorum, UnsafeStep, ReconfigConflict, ReconfigInProgress, ReconfigDisabled,
                ReconfigForbidden: As for `zkcoord.ensemble.remove_member`.
        """
        named = [_id(member) for member in _listed(members)]
        if any(line for _, line in named):
            now = {_core.ensemble_member(line)[0]: line for line in self.server_members}
            for number, line in named:
                if line and number in now and _core.ensemble_steps([now[number]], [line], None)[:1] != []:
                    raise UnsafeStep(f"{line} is no member: id {number} is {now[number]}; name that, or the id alone")
        self._steps([("leave", number) for number, _ in named])

    def leader_znodes(self, path: str) -> set[str]:
        """List a znode and all below it; not ZooKeeper's own, and not the root itself.

        Args:
            path: The znode. A slash at its end means nothing.

        Raises:
            NoNode: It does not exist. One below it that goes away meanwhile is there or not.
        """
        return self._tree(path)

    def create_znode_leader(self, path: str, acls: Acl | Iterable[AclEntry] | None = None) -> None:
        """Create a znode, and its parents where they are missing.

        Args:
            path: The znode.
            acls: What it permits: entries as in ``default_acl``, or kazoo's. None: what created znodes permit, which is
                everything to everybody unless the profile says otherwise.

        Raises:
            NodeExists: There is one already, whatever it permits.
        """
        self._create(path, acls)

    def set_acls_znode_leader(self, path: str, acls: Acl | Iterable[AclEntry] | None = None) -> None:
        """Change what a znode permits.

        Args:
            path: The znode.
            acls: As for `create_znode_leader`; None means the same as there.

        Raises:
            NoNode: There is none.
        """
        self._set_acls(path, acls)

    def delete_znode_leader(self, path: str) -> None:
        """Delete a znode and all below it. One that does not exist, or goes away meanwhile, is fine.

        Args:
            path: The znode.
        """
        self._delete(path)

    def get_version(self) -> str:
        """Tell which version of ZooKeeper the leader is, or with ``read_only`` the server that was found: ``3.8.0``."""
        answer = self._of(self.zk_host, "srvr") if self.read_only else self._of_leader("srvr")
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

    def _of(self, host: str, word: str) -> Answer:
        """The answer of one server."""
        name = server(host, self.client_port)
        if name not in self._alone:
            self._alone[name] = self._connect([name])._settings
        answer = next(iter(self._ask(word, self._alone[name]).values()))
        if isinstance(answer, Answer):
            return answer
        raise answer

    def _of_leader(self, word: str) -> Answer:
        """The answer of the server that leads when it gives it."""
        for _ in range(2):
            try:
                answer = self._of(self.zk_host, word)
                if "leader" in {answer.get("Mode"), answer.get("zk_server_state")}:
                    return answer
            except (NotServing, Unreachable):
                pass
            self.get_leader()
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
        """Take a server. Nothing is sent before it is asked something.

        Args:
            host: The server, ``host`` or ``host:port``; IPv6 with or without brackets.
            client_port, username, password, use_ssl, keyfile_path, keyfile_password, certfile_path: As for
                `ZooKeeperManager`.
            scheme, ca_certs, verify_certs, mechanism, timeout, admin_port, profile, config, config_get: As there, too.
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
        """The lines of the ensemble's configuration, and its version. Of a server that stands alone: none, and 0."""
        return self._config()

    @property
    def srvr(self) -> Answer:
        """What the server answers to ``srvr``, by name. A value keeps all that is behind the name.

        Raises:
            NotServing, WordRefused, NoAnswer, Unreachable: There is no answer.
        """
        return self._answer("srvr")

    @property
    def mntr(self) -> Answer:
        """What the server answers to ``mntr``, by name; all of it, however much.

        Raises:
            NotServing, WordRefused, NoAnswer, Unreachable: There is no answer.
        """
        return self._answer("mntr")

    @property
    def is_ready(self) -> bool:
        """Whether the server is up and part of an ensemble, in sync. One that stands alone is not."""
        mntr = next(iter(self._ask("mntr", self._settings).values()))
        srvr = next(iter(self._ask("srvr", self._settings).values())) if isinstance(mntr, WordRefused) else None
        return is_broadcasting(mntr, srvr)

    def get_all_znode_children(self, path: str) -> set[str]:
        """List a znode and all below it, as `ZooKeeperManager.leader_znodes` does."""
        return self._tree(path)

    def delete_znode(self, path: str) -> None:
        """Delete a znode and all below it. One that does not exist, or goes away meanwhile, is fine."""
        self._delete(path)

    def create_znode(self, path: str, acls: Acl | Iterable[AclEntry] | None = None) -> None:
        """Create a znode, as `ZooKeeperManager.create_znode_leader` does."""
        self._create(path, acls)

    def get_acls(self, path: str) -> list[AclEntry]:
        """Tell what a znode permits: entries, each ``(permissions, (scheme, id))``.

        Raises:
            NoNode: There is none.
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


def _listed(members: Iterable[str]) -> list[Any]:
    return [members] if isinstance(members, (str, int)) else list(members)


def _id(member: object) -> tuple[int, str | None]:
    """The id of a member, and its line, if it is one."""
    text = str(member).strip()
    if "=" in text:
        found = _core.ensemble_member(text)
        return found[0], found[4]
    number = text.removeprefix("server.")
    if not number.isascii() or not number.isdigit():
        raise ArgumentError(f"members: {text[:120]!a} is no member; give server.ID=..., server.ID, or the id")
    return int(number), None
