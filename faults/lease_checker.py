"""Whether timed leases kept their promises. Pure: transactions and statements go in, violations come out.

| promise | proved from |
| --- | --- |
| a lease is taken over only after its record was the same for its duration | the leaders' stamps in the log |
| no two hold it at once | what each holder says, and when the next one's transaction was |
| a token is the zxid of the transaction that took the lease | the log, and what each holder says |
| each taking is one change of hands more, and a renewal none | the log |
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from faults.txnlog import Transaction

# Times in the log are whole milliseconds, of servers whose clocks are one machine's.
TOLERANCE = 0.002


class Violation(NamedTuple):
    """A promise that was broken."""

    rule: str
    path: str
    zxid: int
    what: str


class Statement(NamedTuple):
    """Somebody held a lease at some moment between these two."""

    path: str
    token: int
    begin: float
    end: float


@dataclass
class Tenure:
    """One holder's time, from the transaction that took the lease."""

    path: str
    token: int
    hold: str
    owner: str
    taken: float
    """Seconds, by the leader's clock."""
    waited: float | None
    """Seconds since the last change of a lease that was taken over; None: it was free."""
    duration: float
    """Of the lease that was taken over, in seconds."""


@dataclass
class History:
    """What the log says of all leases."""

    tenures: dict[tuple[str, int], Tenure] = field(default_factory=dict)
    renewals: int = 0
    releases: int = 0
    violations: list[Violation] = field(default_factory=list)

    @property
    def takeovers(self) -> list[Tenure]:
        """Those that took a lease that was over and not given back."""
        return [it for it in self.tenures.values() if it.waited is not None]


@dataclass
class _Lease:
    owner: str = ""
    hold: str = ""
    transitions: int = -1
    duration: float = 0.0
    changed: float = 0.0
    token: int = 0


def replay(steps: Iterable[Transaction], paths: set[str]) -> History:
    """Go through the log."""
    history, leases = History(), defaultdict(_Lease)
    for step in steps:
        for change in step.changes:
            if change.path in paths and change.what in {"create", "set"}:
                _change(history, leases[change.path], change.path, change.data, step)
    return history


def _change(history: History, lease: _Lease, path: str, data: bytes, step: Transaction) -> None:
    def broken(rule: str, what: str) -> None:
        history.violations.append(Violation(rule, path, step.zxid, what))

    now = step.time / 1000
    record = json.loads(data) if data else {"holderIdentity": ""}
    ours = record.get("zkcoord", {})
    owner, hold, transitions = record["holderIdentity"], ours.get("hold", ""), record.get("leaseTransitions", 0)
    since = now - lease.changed
    # Whoever has learned that it has taken a lease when that was over already takes it again, over its own record.
    is_same = (owner, hold) == (lease.owner, lease.hold)
    if not owner:
        history.releases += bool(lease.owner)
    elif is_same and not (transitions == lease.transitions + 1 and "token" not in ours):
        history.renewals += 1
        if transitions != lease.transitions:
            broken("transitions", f"a renewal made {transitions} of {lease.transitions}")
        if ours.get("token", lease.token) != lease.token:
            broken("token", f"the record says {ours['token']}, and it was taken by {lease.token}")
    else:
        is_over = bool(lease.owner) and not is_same
        if is_over and since < lease.duration - TOLERANCE:
            broken(
                "too early", f"{owner} took it {since:.3f} s after {lease.owner}'s last change, not {lease.duration} s"
            )
        if lease.transitions >= 0 and transitions != lease.transitions + 1:
            broken("transitions", f"a taking made {transitions} of {lease.transitions}")
        lease.token = step.zxid
        waited = since if is_over else None
        history.tenures[path, step.zxid] = Tenure(path, step.zxid, hold, owner, now, waited, lease.duration)
    lease.owner, lease.hold, lease.transitions, lease.changed = owner, hold, transitions, now
    lease.duration = ours.get("durationNanoseconds", record.get("leaseDurationSeconds", 0) * 10**9) / 10**9


def check(history: History, statements: Sequence[Statement], epoch: float) -> list[Violation]:
    """Find the broken promises. `epoch`: what the leaders' clock shows when that of the statements shows 0."""
    violations = list(history.violations)
    latest: dict[tuple[str, int], float] = {}
    earliest: dict[tuple[str, int], float] = {}
    for it in statements:
        key = it.path, it.token
        if key not in history.tenures:
            if key not in latest:
                violations.append(
                    Violation("token", it.path, it.token, "held, says its holder, and no transaction took it")
                )
            latest[key] = earliest[key] = 0.0
            continue
        latest[key] = max(latest.get(key, 0.0), it.begin)
        earliest[key] = min(earliest.get(key, it.end), it.end)
    by_path: dict[str, list[Tenure]] = defaultdict(list)
    for tenure in history.tenures.values():
        by_path[tenure.path].append(tenure)
    for path, tenures in by_path.items():
        tenures.sort(key=lambda it: it.token)
        reported_until = 0.0
        for before, after in itertools.pairwise(tenures):
            reported_until = max(reported_until, latest.get((path, before.token), 0.0))
            taken = after.taken - epoch
            first = earliest.get((path, after.token))
            if reported_until > taken + TOLERANCE:
                late_by = reported_until - taken
                what = f"{before.owner}, or one before it, says that it holds it {late_by:.3f} s after it was taken"
                violations.append(Violation("two hold it", path, after.token, what))
            elif first is not None and reported_until > first:
                late_by = reported_until - first
                what = f"an earlier holder says that it holds it {late_by:.3f} s after {after.owner} does"
                violations.append(Violation("two hold it", path, after.token, what))
    return violations


def late(history: History, bound: float) -> list[Violation]:
    """Find the takeovers that took longer than the duration and so much more, where somebody waited all the time."""
    return [
        Violation("too late", it.path, it.token, f"taken {it.waited - it.duration:.3f} s after it was over")
        for it in history.takeovers
        if it.waited is not None and it.waited > it.duration + bound
    ]
