"""Whether the promises were kept. Pure: transactions and calls go in, violations come out.

The order of everything is that of the ensemble's transactions. No clock is looked at.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from faults.history import FALSE, TRUE, UNRESOLVED, Call
from faults.txnlog import Change, Transaction

QUEUE = "-__lock__"

# Changes that a session makes while a place is still being tidied away behind a caller who has given up.
TIDYING = 5

LIMIT = "limit"
ANSWER = "answer"
ORDER = "order"
LEFTOVER = "leftover"
TURN = "turn"
RULES = {
    LIMIT: "never more holders than slots",
    ANSWER: "what a caller was told is so",
    ORDER: "first in, first out",
    LEFTOVER: "nothing is left that nobody was told of",
    TURN: "everybody gets a turn",
}


class Violation(NamedTuple):
    """A promise that was broken: which, to whom, where in the order, and what is there instead."""

    rule: str
    identifier: str
    pool: str
    zxid: int
    what: str


@dataclass(slots=True, eq=False)
class Znode:
    """A lease or a queue node, from its creation to its end."""

    path: str
    pool: str
    identifier: str
    session: int
    created: int
    ephemeral: bool
    deleted: int | None = None
    with_session: bool = False
    """It ended because its session did."""
    cleared: bool = False
    """It was ephemeral, and another session has deleted it: the next one of its process, where the servers keep a
    session for longer than its client may rely on it."""

    def alive(self, zxid: int) -> bool:
        """Whether it was there after the transaction `zxid`."""
        return self.created <= zxid and (self.deleted is None or self.deleted > zxid)


class Grant(NamedTuple):
    """A lease at the moment of its creation."""

    lease: Znode
    grew: bool
    """The transaction left more leases than there were: it was no swap."""
    count: int
    """How many identifiers hold a slot after it: several leases of one are one slot."""
    limit: int | None
    first: Znode | None
    """Who was the first in the queue before it."""
    founded: bool
    """There was no queue before it."""
    shares: bool
    """Its identifier had a lease before: the slot was its own already."""


@dataclass
class World:
    """What became of the pools, from the transactions alone."""

    leases: list[Znode] = field(default_factory=list)
    queue_nodes: list[Znode] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)
    """When each session ended."""
    acts: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    """When each session changed something in the pools."""
    expired: int = 0
    """How many sessions of contenders were ended by the servers and not by their clients."""
    last: int = 0


class _Replay:
    def __init__(self, pools: Iterable[str]) -> None:
        self.world = World()
        self._homes = {pool: (pool, True) for pool in pools} | {pool + QUEUE: (pool, False) for pool in pools}
        self._limits: dict[str, int | None] = {}
        self._queues: set[str] = set()
        self._alive: dict[str, Znode] = {}
        self._leases: dict[str, set[str]] = {pool: set() for pool in pools}
        self._waiting: dict[str, list[tuple[int, str]]] = {pool: [] for pool in pools}
        self._owned: defaultdict[int, set[str]] = defaultdict(set)
        self._contended: set[int] = set()

    def apply(self, step: Transaction) -> None:
        before = {}
        for change in step.changes:
            if change.what == "create" and self._homes.get(_parent(change.path), ("", False))[1]:
                pool = _parent(change.path)
                first = self._waiting[pool][0][1] if self._waiting[pool] else None
                state = (len(self._leases[pool]), self._alive[first] if first else None, pool not in self._queues)
                before.setdefault(pool, state)
        if any(it.path in self._homes or _parent(it.path) in self._homes for it in step.changes):
            self.world.acts[step.session].append(step.zxid)
        holders = {pool: {self._alive[path].identifier for path in self._leases[pool]} for pool in before}
        created = [lease for change in step.changes if (lease := self._change(step, change))]
        for lease in created:
            count, first, founded = before[lease.pool]
            now, shares = len(self._leases[lease.pool]), lease.identifier in holders[lease.pool]
            held_by = {self._alive[path].identifier for path in self._leases[lease.pool]}
            grant = Grant(lease, now > count, len(held_by), self._limits.get(lease.pool), first, founded, shares)
            self.world.grants.append(grant)
        self.world.last = step.zxid

    def _change(self, step: Transaction, change: Change) -> Znode | None:
        what, path, data, ephemeral = change
        if what == "close":
            for owned in sorted(self._owned.pop(step.session, ())):
                self._remove(owned, step.zxid, with_session=True)
            self.world.ends[step.session] = step.zxid
            self.world.expired += step.cxid == 0 and step.session in self._contended
        elif what == "delete":
            self._remove(path, step.zxid, by=step.session)
        elif what in {"create", "set"} and path in self._homes:
            pool, is_pool = self._homes[path]
            if is_pool:
                self._limits[pool] = _number(data)
            else:
                self._queues.add(pool)
        elif what == "create" and _parent(path) in self._homes and not _is_liveness_node(path):
            return self._add(step, path, data, ephemeral)
        return None

    def _add(self, step: Transaction, path: str, data: bytes, ephemeral: bool) -> Znode | None:
        pool, is_lease = self._homes[_parent(path)]
        znode = Znode(path, pool, _identifier(data), step.session, step.zxid, ephemeral)
        self._alive[path] = znode
        self._contended.add(step.session)
        if ephemeral:
            self._owned[step.session].add(path)
        if is_lease:
            self.world.leases.append(znode)
            self._leases[pool].add(path)
            return znode
        self.world.queue_nodes.append(znode)
        insort(self._waiting[pool], (step.zxid, path))
        return None

    def _remove(self, path: str, zxid: int, with_session: bool = False, by: int | None = None) -> None:
        znode = self._alive.pop(path, None)
        if znode is None:
            return
        znode.deleted, znode.with_session = zxid, with_session
        znode.cleared = znode.ephemeral and by is not None and by != znode.session
        self._owned[znode.session].discard(path)
        if path in self._leases[znode.pool]:
            self._leases[znode.pool].discard(path)
        else:
            waiting = self._waiting[znode.pool]
            del waiting[bisect_left(waiting, (znode.created, path))]


def replay(transactions: Iterable[Transaction], pools: Iterable[str]) -> World:
    """What the transactions made of the pools."""
    state = _Replay(list(pools))
    for step in transactions:
        state.apply(step)
    return state.world


def check(world: World, calls: list[Call]) -> list[Violation]:
    """Every promise that was broken."""
    asked = _Asked(calls)
    rules = (within_limit(world, asked), as_answered(world, calls, asked), in_order(world, asked))
    rest = (nothing_left(world, asked), everybody_served(calls))
    return [violation for rule in (*rules, *rest) for violation in rule]


class _Asked:
    """The calls to `lock` of an identifier on a pool, and until when each may have had an effect."""

    def __init__(self, calls: Iterable[Call]) -> None:
        grouped: defaultdict[tuple[str, str], list[Call]] = defaultdict(list)
        for call in calls:
            grouped[call.identifier, call.pool].append(call)
        self._locks = {key: list(self._windows(found)) for key, found in grouped.items()}

    @staticmethod
    def _windows(calls: list[Call]) -> Iterator[tuple[Call, int | None]]:
        calls.sort(key=lambda call: call.begin)
        for at, call in enumerate(calls):
            if call.op != "lock":
                continue
            until = call.end
            if call.answer == UNRESOLVED:
                # Its request may be on its way still. An unlock that was answered came after it.
                later = (it.end for it in calls[at + 1 :] if it.op == "unlock" and it.answer in {TRUE, FALSE})
                until = next(later, None)
            yield call, until

    def answered(self, node: Znode) -> int | None:
        """When the call was answered by which, or after which, `node` was made; None: it was not."""
        before = [call for call, _ in self._locks.get((node.identifier, node.pool), []) if call.begin < node.created]
        return before[-1].end if before else None

    def lock(self, znode: Znode) -> Call | None:
        """The call in whose course `znode` was made, if there is one."""
        for call, until in reversed(self._locks.get((znode.identifier, znode.pool), [])):
            if call.begin < znode.created:
                return call if until is None or znode.created <= until else None
        return None


def within_limit(world: World, asked: _Asked) -> Iterator[Violation]:
    """An identifier is added only while there is room; force apart."""
    forced: defaultdict[str, list[Znode]] = defaultdict(list)
    for lease in world.leases:
        call = asked.lock(lease)
        if call and call.force:
            forced[lease.pool].append(lease)
    for grant in world.grants:
        lease = grant.lease
        if (
            not grant.grew
            or grant.shares
            or grant.limit is None
            or grant.count <= grant.limit
            or lease in forced[lease.pool]
        ):
            continue
        # Who looked before somebody forced a slot, and takes one after that, was right when it looked.
        count = grant.count - len({it.identifier for it in forced[lease.pool] if it.alive(lease.created)})
        if count > grant.limit:
            what = f"holder {count} of a pool of {grant.limit}"
            yield Violation(LIMIT, lease.identifier, lease.pool, lease.created, what)


def as_answered(world: World, calls: Iterable[Call], asked: _Asked) -> Iterator[Violation]:
    """Who was told True held a lease when it was told, and anybody else held none, unless told that it may be so."""
    held: defaultdict[tuple[str, str], list[Znode]] = defaultdict(list)
    for lease in world.leases:
        held[lease.identifier, lease.pool].append(lease)
    for call in calls:
        if call.end is None or call.answer == UNRESOLVED:
            continue
        own = held[call.identifier, call.pool]
        now = [lease for lease in own if lease.alive(call.end)]
        what = None
        if call.op == "lock" and call.answer == TRUE:
            # It may have ended with its session between the answer and the stamp after it.
            over = [it for it in own if it.with_session or it.cleared]
            ended = [it for it in over if it.deleted and call.begin < it.deleted <= call.end]
            if not now and not ended:
                what = "was told True, and held no lease"
            elif call.token is not None and call.token not in {lease.created for lease in own}:
                what = f"was told a fencing token, {call.token:#x}, that is not its lease's"
        elif now:
            what = f"was told {call.answer} by {call.op}, and held {now[0].path} since {now[0].created:#x}"
        elif call.op == "unlock" and call.answer == FALSE:
            given = [it for it in own if not it.with_session and it.deleted and call.begin < it.deleted <= call.end]
            # What may have been taken for a lock is given back in the background, by whoever is first.
            given = [it for it in given if not ((lock := asked.lock(it)) and lock.answer == UNRESOLVED)]
            # A hold whose session was over for its process counts as lost, whoever deletes what the servers had kept.
            given = [it for it in given if not (it.cleared and call.kind == "holder")]
            if given:
                what = f"was told False by unlock, which gave {given[0].path} back"
        if what:
            yield Violation(ANSWER, call.identifier, call.pool, call.end, what)


def in_order(world: World, asked: _Asked) -> Iterator[Violation]:
    """A lease is added by the first in the queue, and nobody loses its place while its session lives."""
    for grant in world.grants:
        lease, first = grant.lease, grant.first
        if not grant.grew or grant.founded or grant.shares:
            continue
        if first and first.identifier == lease.identifier and first.session == lease.session:
            continue
        call = asked.lock(lease)
        if call and call.force:
            continue
        ahead = f"{first.identifier}, first since {first.created:#x}, was passed over" if first else "nobody queued"
        yield Violation(ORDER, lease.identifier, lease.pool, lease.created, f"took a lease although {ahead}")
    taken: defaultdict[tuple[str, str], list[Znode]] = defaultdict(list)
    for lease in world.leases:
        taken[lease.identifier, lease.pool].append(lease)
    entered: dict[tuple[int, Call], Znode] = {}
    for node in world.queue_nodes:
        call = asked.lock(node)
        if call is None:
            continue
        before = entered.get((node.session, call))
        entered[node.session, call] = node
        # A contender that has its lease but no answer may queue to find out; one that holds a lease may want another.
        own = taken[node.identifier, node.pool]
        if before and not any(before.created <= it.created <= node.created or it.alive(node.created) for it in own):
            what = (
                f"queued again in one session: {_life(node)}, after {_life(before)}; its call began at {call.begin:#x}"
            )
            yield Violation(ORDER, node.identifier, node.pool, node.created, what)


def nothing_left(world: World, asked: _Asked) -> Iterator[Violation]:
    """Places go with their sessions, and with a slot; leases are somebody's; at the end there is neither."""
    for node in world.queue_nodes:
        end = world.ends.get(node.session)
        what = None
        if not node.ephemeral:
            what = "a place that does not end with its session"
        elif end is not None and (node.deleted is None or node.deleted > end):
            what = f"a place outlived its session, which ended at {end:#x}"
        elif node.deleted is None:
            what = "a place is left at the end"
        elif (call := asked.lock(node)) and call.answer == TRUE and call.end and node.alive(call.end):
            what = "a place was left by one who was told True"
        elif node.with_session:
            # A caller who gave up may leave the tidying to the background: it is done within a request or two.
            answered = asked.answered(node)
            acts = world.acts[node.session]
            since = len(acts) - bisect_left(acts, max(answered, node.created) + 1) if answered else 0
            if since > TIDYING:
                what = f"a place nobody waits at was left for as long as its session lived, {since} changes on"
        if what:
            yield Violation(LEFTOVER, node.identifier, node.pool, node.created, what)
    for lease in world.leases:
        if asked.lock(lease) is None:
            what = "a lease that nobody asked for"
        elif lease.deleted is None:
            what = "a lease is left at the end"
        else:
            continue
        yield Violation(LEFTOVER, lease.identifier, lease.pool, lease.created, what)


def everybody_served(calls: Iterable[Call]) -> Iterator[Violation]:
    """After the nemesis has stopped, who asks is given a slot within the bound."""
    for call in calls:
        if call.last and call.op == "lock" and call.answer != TRUE:
            what = f"was answered {call.answer}" if call.answer else "was not answered"
            yield Violation(TURN, call.identifier, call.pool, call.end or call.begin, f"{what} after the last fault")


def _life(node: Znode) -> str:
    ended = "" if node.deleted is None else f" to {node.deleted:#x}"
    return f"{node.path.rpartition('/')[2]} of {node.session:#x} from {node.created:#x}{ended}"


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _is_liveness_node(path: str) -> bool:
    """Whether a znode says that the process of a kept lease lives. It stands in a queue, and is no queue node."""
    return QUEUE in _parent(path) and "__lock__" not in path.rpartition("/")[2]


def _number(data: bytes) -> int | None:
    try:
        return int(data)
    except ValueError:
        return None


def _identifier(data: bytes) -> str:
    """The text; kazoo's queue has Python's notation of the bytes."""
    text = data.decode(errors="replace")
    return text[2:-1] if text[:2] == "b'" and text[-1:] == "'" else text
