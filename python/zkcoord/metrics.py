"""Slots, timed leases, grants and servers as metrics, for Prometheus and whoever reads its formats.

    zkcoord.metrics.text("/restart", hosts)                                   # OpenMetrics
    zkcoord.metrics.write("/var/lib/node_exporter/zkcoord.prom", "/", hosts)  # for node_exporter's textfile collector
    REGISTRY.register(zkcoord.metrics.Collector("/restart", hosts))           # in a program that serves metrics

It needs prometheus_client: ``pip install 'zkcoord[metrics]'``. Whoever asks for the metrics reads them from the
servers, so that one host of a fleet is enough. Nothing is created. All znodes below the root are listed, with the
requests for one level of the tree sent together, and each pool is read in two round trips.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from zkcoord import _pool, ensemble, grants, lease
from zkcoord.connection import Connection, connection_for
from zkcoord.errors import ArgumentError, Error, NoAuth, NoNode

try:
    from prometheus_client import CollectorRegistry, write_to_textfile
    from prometheus_client.core import CounterMetricFamily, GaugeHistogramMetricFamily, GaugeMetricFamily
    from prometheus_client.openmetrics.exposition import generate_latest
except ImportError as error:
    raise ImportError("zkcoord.metrics needs prometheus_client: pip install 'zkcoord[metrics]'") from error

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from prometheus_client.core import Metric
    from zkcoord._types import Hosts

__all__ = ["Collector", "text", "write"]

_log = logging.getLogger("zkcoord.metrics")
# The bounds of the histogram of waits, in seconds.
_WAITS = (1, 10, 60, 300, 900, 3600, 6 * 3600, 24 * 3600)


class Collector:
    """A collector for `prometheus_client`, which asks the servers each time when somebody reads the metrics."""

    def __init__(
        self,
        root: str | None = "/",
        zk_hosts: Hosts | None = None,
        *,
        leases: Iterable[str] = (),
        keys: Iterable[str] = (),
        servers: bool = True,
        admin_port: int | None = None,
        timeout: float | None = None,
        connection: Connection | None = None,
        **keywords: Any,
    ) -> None:
        """Take what is to be reported. Nothing is sent.

        Args:
            root: The znode below which the pools are. None: no pools.
            zk_hosts: The servers, as for `zkcoord.Connection`.
            leases: The paths right below which the timed leases are.
            keys: The coordinators whose locks are reported: their keys.
            servers: Whether the servers are reported.
            admin_port: The port of their AdminServers. Default: 8080; 0 for none.
            timeout: Seconds for each question. At most, and by default, ``connect_timeout``.
            connection: A `zkcoord.Connection`, in place of ``zk_hosts`` and of all that follows.
            **keywords: The other settings of a `zkcoord.Connection`.

        Raises:
            ArgumentError: A setting of the connection is wrong, or two contradict each other.
        """
        connection = connection_for(zk_hosts, connection, keywords)
        self._root, self._leases, self._keys = root, [*dict.fromkeys(leases)], [*dict.fromkeys(map(str, keys))]
        self._servers, self._admin_port = servers, admin_port
        self._at: dict[str, Any] = {"connection": connection, "timeout": timeout}

    def describe(self) -> Iterable[Metric]:
        """Describe nothing, so that to register the collector asks no server."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Ask the servers. What they do not answer is left out, and ``zkcoord_unanswered`` says which."""
        parts: dict[str, tuple[bool, Callable[[], list[Metric]]]] = {
            "slots": (self._root is not None, self._slots),
            "leases": (bool(self._leases), self._timed_leases),
            "grants": (bool(self._keys), self._grants),
            "servers": (self._servers, self._ensemble),
        }
        unanswered = GaugeMetricFamily("zkcoord_unanswered", "1 where the servers gave no answer.", labels=["part"])
        for name, (is_wanted, part) in parts.items():
            if not is_wanted:
                continue
            try:
                families = part()
            except ArgumentError:
                raise
            except Error as err:
                _log.warning("no metrics of %s: %s", name, err)
                unanswered.add_metric([name], 1)
            else:
                unanswered.add_metric([name], 0)
                yield from families
        yield unanswered

    def _slots(self) -> list[Metric]:
        limit = _gauge("slots_limit", "Slots of the pool.", "pool")
        held = _gauge("slots_held", "Slots that are held.", "pool")
        waiting = _gauge("slots_waiting", "Who waits for a slot.", "pool")
        held_for = _gauge("slots_oldest_holder_seconds", "For how long the longest holder has a slot.", "pool")
        waits_for = _gauge("slots_oldest_waiter_seconds", "For how long the longest waiter waits.", "pool")
        orphans = _gauge("slots_orphans", "Queue nodes of no session, which block the queue.", "pool")
        changes = _counter("slots_changes", "How often a slot was taken or given back since the pool was made.", "pool")
        waits = GaugeHistogramMetricFamily(
            "zkcoord_slots_waits_seconds", "For how long those wait who wait now.", labels=["pool"], unit="seconds"
        )
        for pool in self._pools():
            name = [pool["path"]]
            if pool["changes"] is not None:
                changes.add_metric(name, pool["changes"])
            for metric, number in ((limit, pool["max_concurrency"]), (held, pool["held"]), (waiting, pool["waiting"])):
                if number is not None:
                    metric.add_metric(name, number)
            try:
                status = _pool.status(pool["path"], **self._at)
            except NoAuth:  # what was listed is all that this user may see
                continue
            ages = [it["age"] for it in status["waiters"]]
            held_for.add_metric(name, max((it["age"] for it in status["holders"]), default=0))
            waits_for.add_metric(name, max(ages, default=0))
            orphans.add_metric(name, sum(it["orphan"] for it in status["waiters"]))
            waits.add_metric(name, _buckets(ages), sum(ages))
        return [limit, held, waiting, held_for, waits_for, orphans, changes, waits]

    def _pools(self) -> list[Any]:
        assert self._root is not None
        try:
            return [*_pool.pools(self._root, **self._at)]
        except NoNode:  # nobody has asked for a slot yet
            return []

    def _timed_leases(self) -> list[Metric]:
        held = _gauge("lease_held", "1 while somebody holds the lease.", "lease")
        left = _gauge("lease_left_seconds", "How long the lease lasts if it is not renewed; negative: over.", "lease")
        waiting = _gauge("lease_waiting", "Who waits for the lease.", "lease")
        transitions = _counter("lease_transitions", "How often the lease has changed hands.", "lease")
        for found in (it for path in self._leases for it in lease.below(path, **self._at)):
            name, holder = [found["path"]], found["holder"]
            held.add_metric(name, 1 if holder else 0)
            if holder:
                left.add_metric(name, holder["left"])
            waiting.add_metric(name, found["waiting"])
            transitions.add_metric(name, found["transitions"])
        return [held, left, waiting, transitions]

    def _grants(self) -> list[Metric]:
        labels = ("key", "lock")
        granted = _gauge("grants_granted", "Units that are granted the lock.", *labels)
        waiting = _gauge("grants_waiting", "Units that have asked for the lock, and wait.", *labels)
        held_for = _gauge("grants_oldest_grant_seconds", "For how long the longest holder is granted it.", *labels)
        waits_for = _gauge("grants_oldest_request_seconds", "For how long the longest waiter waits.", *labels)
        hopeless = _gauge("grants_hopeless", "Requests that the policy can never grant.", *labels)
        for name in [[str(key), lock] for key in self._keys for lock in grants.locks(key, **self._at)]:
            queue = grants.queue(name[1], name[0], **self._at)
            granted.add_metric(name, len(queue["holders"]))
            waiting.add_metric(name, len(queue["waiters"]))
            held_for.add_metric(name, max((it["age"] for it in queue["holders"]), default=0))
            waits_for.add_metric(name, max((it["age"] for it in queue["waiters"]), default=0))
            hopeless.add_metric(name, sum(it["hopeless"] is not None for it in queue["waiters"]))
        return [granted, waiting, held_for, waits_for, hopeless]

    def _ensemble(self) -> list[Metric]:
        in_sync = _gauge("server_in_sync", "1 where the server serves, and is in sync with its leader.", "server")
        leads = _gauge("server_leads", "1 where the server leads.", "server")
        behind = _gauge("server_behind_transactions", "How far the server is behind the leader, at least.", "server")
        connections = _gauge("server_connections", "Clients that are connected to the server.", "server")
        status = ensemble.status(admin_port=self._admin_port, **self._at)
        for row in status["servers"]:
            name = [row["address"] or row["member"] or str(row["id"])]
            in_sync.add_metric(name, 1 if row["in_sync"] else 0)
            leads.add_metric(name, 1 if row["mode"] == "leader" else 0)
            if row["behind"] is not None:
                behind.add_metric(name, row["behind"])
            if row["connections"] is not None:
                connections.add_metric(name, row["connections"])
        quorum = _gauge("quorum", "1 where a majority of the servers is in sync.")
        quorum.add_metric([], 1 if status["has_quorum"] else 0)
        critical = _gauge("critical_servers", "Servers without any one of which there would be no majority.")
        critical.add_metric([], len(status["critical"]))
        return [in_sync, leads, behind, connections, quorum, critical]


def text(root: str | None = "/", zk_hosts: Hosts | None = None, **keywords: Any) -> str:
    """Return the metrics in the format of OpenMetrics.

    Args:
        root: The znode below which the pools are. None: no pools.
        zk_hosts: The servers.
        **keywords: As for `Collector`.

    Raises:
        ArgumentError: An argument is wrong. A part that the servers do not answer is no error, but has a 1 in
            ``zkcoord_unanswered``.
    """
    return str(generate_latest(_registry(root, zk_hosts, keywords)), "utf-8")  # type: ignore[no-untyped-call]


def write(
    textfile: str | os.PathLike[str], root: str | None = "/", zk_hosts: Hosts | None = None, **keywords: Any
) -> None:
    """Write the metrics into a file for node_exporter's textfile collector, which finds the old file or the whole new.

    Args:
        textfile: The file. For node_exporter its name has to end in ``.prom``.
        root: The znode below which the pools are. None: no pools.
        zk_hosts: The servers.
        **keywords: As for `Collector`.

    Raises:
        ArgumentError: An argument is wrong.
        OSError: The file cannot be written.
    """
    write_to_textfile(str(textfile), _registry(root, zk_hosts, keywords))


def _registry(root: str | None, zk_hosts: Hosts | None, keywords: dict[str, Any]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(Collector(root, zk_hosts, **keywords))
    return registry


def _gauge(name: str, what: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"zkcoord_{name}", what, labels=labels)


def _counter(name: str, what: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"zkcoord_{name}", what, labels=labels)


def _buckets(ages: list[float]) -> list[tuple[str, float]]:
    counted = [(str(float(bound)), sum(age <= bound for age in ages)) for bound in _WAITS]
    return [*counted, ("+Inf", len(ages))]
