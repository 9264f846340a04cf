"""Numbers of the protocol, by the names that Ganeti's own ``constants`` has for them, and as enums."""

from __future__ import annotations

from enum import IntEnum

from zkcoord import _core

CONFD_PROTOCOL_VERSION = 1
CONFD_MAGIC_FOURCC = "plj0"
CONFD_MAGIC_FOURCC_BYTES = b"plj0"
CONFD_MAX_CLOCK_SKEW = 300
"""Seconds by which a client's clock may differ from a server's."""
CONFD_DEFAULT_REQ_COVERAGE = 6
CONFD_CLIENT_EXPIRE_TIMEOUT = 10
"""Seconds for which a query is open."""
CONFD_CONFIG_RELOAD_TIMEOUT = 17
"""Seconds after which a server reads its configuration again, whatever it has heard of changes."""
CONFD_CONFIG_RELOAD_RATELIMIT = 250_000
"""Microseconds between two times that a server reads its configuration."""
DEFAULT_CONFD_PORT = 1814
MAX_UDP_DATA_SIZE = 61440
"""The most bytes of a request that Ganeti's own client sends. A server reads 4096, and zkcoord sends no longer one."""

CONFD_REQ_PING = 0
CONFD_REQ_NODE_ROLE_BYNAME = 1
CONFD_REQ_NODE_PIP_BY_INSTANCE_IP = 2
CONFD_REQ_CLUSTER_MASTER = 3
CONFD_REQ_NODE_PIP_LIST = 4
CONFD_REQ_MC_PIP_LIST = 5
CONFD_REQ_INSTANCES_IPS_LIST = 6
CONFD_REQ_NODE_DRBD = 7
CONFD_REQ_NODE_INSTANCES = 8
CONFD_REQ_INSTANCE_DISKS = 9
CONFD_REQ_CONFIG_QUERY = 10
CONFD_REQ_DATA_COLLECTORS = 11
CONFD_REQS = frozenset(range(12))

CONFD_REQQ_LINK = "0"
CONFD_REQQ_IP = "1"
CONFD_REQQ_IPLIST = "2"
CONFD_REQQ_FIELDS = "3"

CONFD_REQFIELD_NAME = 0
CONFD_REQFIELD_IP = 1
CONFD_REQFIELD_MNODE_PIP = 2

CONFD_REPL_STATUS_OK = 0
CONFD_REPL_STATUS_ERROR = 1
CONFD_REPL_STATUS_NOTIMPLEMENTED = 2
CONFD_REPL_STATUSES = frozenset(range(3))

CONFD_NODE_ROLE_MASTER = 0
CONFD_NODE_ROLE_CANDIDATE = 1
CONFD_NODE_ROLE_OFFLINE = 2
CONFD_NODE_ROLE_DRAINED = 3
CONFD_NODE_ROLE_REGULAR = 4

CONFD_ERROR_UNKNOWN_ENTRY = 0
CONFD_ERROR_INTERNAL = 1
CONFD_ERROR_ARGUMENT = 2

UPCALL_REPLY = 1
UPCALL_EXPIRE = 2
CONFD_UPCALL_TYPES = frozenset((UPCALL_REPLY, UPCALL_EXPIRE))

TYPES: tuple[str, ...] = tuple(_core.confd_types())
"""What the types of requests are called; the index is the number on the wire."""


class NodeRole(IntEnum):
    """What a node is to its cluster."""

    MASTER = CONFD_NODE_ROLE_MASTER
    CANDIDATE = CONFD_NODE_ROLE_CANDIDATE
    OFFLINE = CONFD_NODE_ROLE_OFFLINE
    DRAINED = CONFD_NODE_ROLE_DRAINED
    REGULAR = CONFD_NODE_ROLE_REGULAR


class MasterField(IntEnum):
    """What may be asked of the master: its name, the address of the cluster, and the node's primary address."""

    NAME = CONFD_REQFIELD_NAME
    IP = CONFD_REQFIELD_IP
    MNODE_PIP = CONFD_REQFIELD_MNODE_PIP
