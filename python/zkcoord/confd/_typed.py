"""One function for each type of request, with an answer of a type of its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from zkcoord.confd._answer import shown
from zkcoord.confd._constants import (
    CONFD_REQQ_FIELDS,
    CONFD_REQQ_IP,
    CONFD_REQQ_IPLIST,
    CONFD_REQQ_LINK,
    MasterField,
    NodeRole,
)
from zkcoord.confd._documented import documented
from zkcoord.confd._query import query as ask
from zkcoord.errors import ArgumentError, ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from typing_extensions import Unpack
    from zkcoord.confd._query import Trusting

    _Shape = TypeVar("_Shape")
    _Kind = TypeVar("_Kind")

_MICROSECONDS = 1_000_000
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class DrbdMinor(NamedTuple):
    """A DRBD device that a node has."""

    node: str
    minor: int
    instance: str
    disk: str
    """The name of the disk in its instance, such as ``disk/0``."""
    role: str
    """What the node is to the device: ``primary`` or ``secondary``."""
    peer: str
    """The other node."""


class NodeInstances(NamedTuple):
    """The instances of a node, each a dict as Ganeti's configuration has it."""

    primary: list[dict[str, Any]]
    secondary: list[dict[str, Any]]


class Collector(NamedTuple):
    """One of Ganeti's data collectors."""

    active: bool
    interval: float
    """Seconds between two collections."""


@documented
def ping(**asking: Unpack[Trusting]) -> int:
    """Find out whether the candidates are there. Return the version of the configuration, such as 3000000.

    Candidates of two versions contradict each other, because the answer has no serial.
    """
    return _asked("ping", None, lambda answer: _of_type(int, answer), asking)


@documented
def node_role_by_name(name: str, **asking: Unpack[Trusting]) -> NodeRole:
    """Return what a node is to its cluster.

    Args:
        name: The node's name, in full or up to a dot, or its UUID.

    Where the node is not named in full, the servers take the master for a candidate. So where they answer that it is a
    candidate, the call also asks who the master is and, for a UUID, for the name. Each question may take ``timeout``.
    """
    role = _asked("node_role_by_name", _text("name", name), lambda answer: NodeRole(_of_type(int, answer)), asking)
    if role is not NodeRole.CANDIDATE:
        return role
    master = cluster_master(**asking)
    if _UUID.fullmatch(name):
        name = _asked("config_query", f"/nodes/{name}/name", lambda answer: _of_type(str, answer), asking)
    return NodeRole.MASTER if is_called(master, name) else role


def is_called(node: str, name: str) -> bool:
    """Tell whether a name is that of a node: in full, or up to a dot, as the servers take it."""
    return node == name or node.startswith(f"{name}.")


@overload
def node_pip_by_instance_ip(ip: str, link: str | None = None, **asking: Unpack[Trusting]) -> str: ...
@overload
def node_pip_by_instance_ip(
    ip: list[str] | tuple[str, ...], link: str | None = None, **asking: Unpack[Trusting]
) -> dict[str, str | None]: ...
@documented
def node_pip_by_instance_ip(
    ip: str | list[str] | tuple[str, ...], link: str | None = None, **asking: Unpack[Trusting]
) -> str | dict[str, str | None]:
    """Return the primary address of the node on which the instance with an address runs.

    Args:
        ip: The instance's address, or several.
        link: The link that the address is on. Default: the cluster's default link. An address on another link is
            unknown.

    Returns:
        An address. For several instances, a dict of addresses by the instances' addresses; None where one is unknown.
    """
    on_link = {} if link is None else {CONFD_REQQ_LINK: _text("link", link)}
    if isinstance(ip, str):
        question: dict[str, Any] = {CONFD_REQQ_IP: ip, **on_link}
        return _asked("node_pip_by_instance_ip", question, lambda answer: _of_type(str, answer), asking)
    addresses = _texts("ip", ip)

    def by_address(answer: Any) -> dict[str, str | None]:
        triples = _rows(answer, 3)
        if len(triples) != len(addresses):
            raise ValueError(answer)
        return {
            address: None if status else _of_type(str, found)
            for address, (status, found, _) in zip(addresses, triples, strict=True)
        }

    return _asked("node_pip_by_instance_ip", {CONFD_REQQ_IPLIST: addresses, **on_link}, by_address, asking)


@overload
def cluster_master(fields: None = None, **asking: Unpack[Trusting]) -> str: ...
@overload
def cluster_master(fields: Sequence[int], **asking: Unpack[Trusting]) -> list[str]: ...
@documented
def cluster_master(fields: Sequence[int] | None = None, **asking: Unpack[Trusting]) -> str | list[str]:
    """Return the name of the master node.

    Args:
        fields: What to return instead, a list of `MasterField`: the master's name, the address of the cluster, the
            master's primary address.

    Returns:
        The name, or a list with what was asked for, in that order.
    """
    if fields is None:
        return _asked("cluster_master", None, lambda answer: _of_type(str, answer), asking)
    try:
        numbers = [int(MasterField(field)) for field in fields]
    except (TypeError, ValueError):
        raise ArgumentError("fields: must be a list of MasterField: 0, 1 or 2") from None
    return _asked("cluster_master", {CONFD_REQQ_FIELDS: numbers}, _names, asking)


@documented
def node_pip_list(**asking: Unpack[Trusting]) -> list[str]:
    """Return the primary addresses of all nodes, in no order."""
    return _asked("node_pip_list", None, _names, asking)


@documented
def mc_pip_list(**asking: Unpack[Trusting]) -> list[str]:
    """Return the primary addresses of the master candidates, in no order."""
    return _asked("mc_pip_list", None, _names, asking)


@documented
def instances_ips_list(link: str | None = None, **asking: Unpack[Trusting]) -> list[str]:
    """Return the addresses of the instances on a link.

    Args:
        link: The link. Default: the cluster's default link. A link that does not exist has no addresses.
    """
    question = None if link is None else _text("link", link)
    return _asked("instances_ips_list", question, _names, asking)


@documented
def node_drbd(node: str, **asking: Unpack[Trusting]) -> list[DrbdMinor]:
    """Return the DRBD devices of a node.

    Args:
        node: The node's name.

    The serial is that of the node: it does not change with the devices.
    """

    def devices(answer: Any) -> list[DrbdMinor]:
        return [DrbdMinor(*row) for row in _rows(answer, 6)]

    return _asked("node_drbd", _text("node", node), devices, asking)


@documented
def node_instances(node: str, *, secrets: bool = False, **asking: Unpack[Trusting]) -> NodeInstances:
    """Return the instances of a node: those that it is the primary node of, and those that it is a secondary of.

    Args:
        node: The node's name.
        secrets: True shows private parameters of operating systems.

    The serial is that of the node: it does not change when an instance moves. Ganeti's own client refuses this request.
    """

    def instances(answer: Any) -> NodeInstances:
        primary, secondary = _of_type(list, answer)
        return NodeInstances(_dicts(primary), _dicts(secondary))

    return _asked("node_instances", _text("node", node), instances, asking, secrets)


@documented
def instance_disks(instance: str, *, secrets: bool = False, **asking: Unpack[Trusting]) -> list[dict[str, Any]]:
    """Return the disks of an instance, each a dict as Ganeti's configuration has it.

    Args:
        instance: The instance's name, or its UUID.
        secrets: True shows the secrets of DRBD disks, the last item of their ``logical_id``. Otherwise that is None.
    """
    return _asked("instance_disks", _text("instance", instance), _dicts, asking, secrets)


@documented
def config_query(path: str, *, secrets: bool = False, **asking: Unpack[Trusting]) -> Any:
    """Return a part of the configuration.

    Args:
        path: What part: a JSON pointer (RFC 6901), such as ``/cluster/cluster_name``. It begins with a slash.
        secrets: True shows the secrets of DRBD disks, and private parameters. Otherwise they are None, but for a secret
            to which ``path`` itself leads.
    """
    return _asked("config_query", _text("path", path), lambda answer: answer, asking, secrets)


@documented
def data_collectors(**asking: Unpack[Trusting]) -> dict[str, Collector]:
    """Return Ganeti's data collectors, by name: whether each is active, and its interval in seconds."""

    def collectors(answer: Any) -> dict[str, Collector]:
        return {
            name: Collector(_of_type(bool, it["active"]), it["interval"] / _MICROSECONDS)
            for name, it in _of_type(dict, answer).items()
        }

    return _asked("data_collectors", None, collectors, asking)


def _asked(
    type_: str, question: Any, shape: Callable[[Any], _Shape], asking: Trusting, secrets: bool = False
) -> _Shape:
    """Ask, and return the answer in its shape, if it can be trusted."""
    how: dict[str, Any] = dict(asking)
    trust = {name: how.pop(name) for name in ("require_quorum", "require_consistent") if name in how}
    if unknown := sorted(how.keys() - _KNOWN):
        raise ArgumentError(f"keyword: {ascii(unknown[0])[1:-1]} is not known here")
    answer = ask(type_, question, secrets=secrets, **how).result(**trust)
    try:
        return shape(answer)
    except (KeyError, TypeError, ValueError):
        raise ServerError(f"ganeti-confd answered {type_} with {shown(answer)}, which is no answer to that") from None


_KNOWN = {"peers", "hmac_key", "port", "coverage", "replies", "timeout", "retries", "cancel", "raise_on_signal"}


def _text(argument: str, value: object) -> str:
    if isinstance(value, str):
        return value
    raise ArgumentError(f"{argument}: must be text")


def _texts(argument: str, values: Sequence[str]) -> list[str]:
    try:
        return [_text(argument, value) for value in values]
    except TypeError:
        raise ArgumentError(f"{argument}: must be text, or a list of texts") from None


def _of_type(kind: type[_Kind], answer: Any) -> _Kind:
    # A bool is an int to Python, and none to the protocol.
    if not isinstance(answer, kind) or (isinstance(answer, bool) and kind is not bool):
        raise TypeError
    return answer


def _names(answer: Any) -> list[str]:
    return [_of_type(str, each) for each in _of_type(list, answer)]


def _dicts(answer: Any) -> list[dict[str, Any]]:
    return [_of_type(dict, each) for each in _of_type(list, answer)]


def _rows(answer: Any, length: int) -> list[list[Any]]:
    rows = [_of_type(list, each) for each in _of_type(list, answer)]
    if any(len(row) != length for row in rows):
        raise ValueError(length)
    return rows
