"""Whether a coordinator has kept its promises. Pure: transactions and histories go in, violations come out.

The order of everything is that of the ensemble's transactions, and their times are those of its leaders. No other clock
is looked at, and nothing of zkcoord's own decisions is used: the policy is written down here anew.

A decision is written only if the grants and the policy are still those that it was made by. The members of a party and
the windows are looked at on the way. So a grant is right if they allowed it at any moment since grants or policy were
written last, and who was passed over was wronged only if they allowed his at each.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from faults.policies import admits, is_open, party_of
from faults.txnlog import Change, Transaction

POLICY, ORDER, ONCE, ANSWER, SURVIVES, TURN = "policy", "order", "once", "answer", "survives", "turn"
RULES = {
    POLICY: "grants are never beyond the policy",
    ORDER: "nobody is passed over who could be granted",
    ONCE: "no grant is lost, and none is doubled",
    ANSWER: "what a unit was told is so",
    SURVIVES: "a request survives its process",
    TURN: "everybody gets a turn, and nothing is left",
}
STORED = object()
"""The policy that a lock stores, whoever has changed it."""
_MEMBER = re.compile("[0-9a-f]{32}-.")


class Violation(NamedTuple):
    """A promise that was broken: which, to whom, where in the order, and what is there instead."""

    rule: str
    unit: str
    lock: str
    zxid: int
    what: str


class Request(NamedTuple):
    """A request that is there."""

    unit: str
    czxid: int
    labels: dict[str, str]
    expires: float | None = None


@dataclass
class Lock:
    """A lock while the transactions are gone through."""

    requests: dict[str, Request] = field(default_factory=dict)
    document: dict[str, int] = field(default_factory=dict)
    """The czxid that each unit's grant names."""
    by_hand: set[int] = field(default_factory=set)
    """The czxids of grants that an operator has decided, whatever the policy says."""
    seen: dict[int, int] = field(default_factory=dict)
    """When each request was written last, by the czxid of its request, in milliseconds."""
    stored: Any = None
    """The policy that it stores now."""
    written: int | None = None
    """When the grants or the policy were written last, in milliseconds."""
    counts: dict[str, set[int]] = field(default_factory=dict)
    """How many members each party has had since then."""

    def valid(self) -> dict[str, int]:
        """The grants that count: unit and czxid."""
        there = self.requests
        return {unit: czxid for unit, czxid in self.document.items() if unit in there and there[unit].czxid == czxid}


@dataclass
class World:
    """What became of the locks, from the transactions alone."""

    granted: dict[int, tuple[str, str, int]] = field(default_factory=dict)
    """By the czxid of the request: unit, lock, and the zxid that granted it."""
    filed: dict[int, tuple[str, str]] = field(default_factory=dict)
    deleted: dict[int, int] = field(default_factory=dict)
    """By the czxid of the request: the zxid that deleted it."""
    expired: set[int] = field(default_factory=set)
    """The czxids of requests that anybody could drop when they were deleted."""
    reasons: set[str] = field(default_factory=set)
    """Of the grants by hand."""
    violations: list[Violation] = field(default_factory=list)
    left: list[Request] = field(default_factory=list)
    changes: int = 0
    """How often a stored policy was changed."""
    members: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Of each party, at this moment."""
    windowed: int = 0
    """Decisions that granted something while a window was open."""
    passed: int = 0
    """How often somebody was rightly passed over, because the policy held him up and not those behind."""


def replay(steps: Iterable[Transaction], policies: Mapping[str, Any], home: str) -> World:
    """Go through the transactions of the coordinator at `home`. `STORED` stands for the policy that a lock stores."""
    world = World()
    locks = {name: Lock() for name in policies}
    for step in steps:
        for change in step.changes:
            _count(world, locks.values(), change)
        touched = {lock for change in step.changes if (lock := _lock_of(change.path, home)) in locks}
        before = {name: locks[name].valid() for name in touched}
        for change in step.changes:
            if (name := _lock_of(change.path, home)) in locks:
                _apply(world, locks[name], name, change, step, home)
        for name in touched:
            _judge(world, locks[name], name, before[name], policies[name], step)
            if any(change.path in {f"{home}/grants/{name}", f"{home}/requests/{name}"} for change in step.changes):
                locks[name].written = step.time
                locks[name].counts = {party: {len(members)} for party, members in world.members.items()}
    world.left = [request for lock in locks.values() for request in lock.requests.values()]
    return world


def _count(world: World, locks: Iterable[Lock], change: Change) -> None:
    """Note who has come to a party, or left it."""
    party, _, name = change.path.rpartition("/")
    if change.what not in {"create", "delete"} or not _MEMBER.match(name):
        return
    members = world.members[party]
    (members.add if change.what == "create" else members.discard)(name)
    for lock in locks:
        lock.counts.setdefault(party, {0}).add(len(members))


def _lock_of(path: str, home: str) -> str:
    parts = path.removeprefix(f"{home}/").split("/")
    return parts[1] if path.startswith(f"{home}/") and len(parts) > 1 else ""


def _apply(world: World, lock: Lock, name: str, change: Change, step: Transaction, home: str) -> None:
    kind, *rest = change.path.removeprefix(f"{home}/").split("/")
    if kind == "grants" and change.what in {"create", "set"}:
        document = json.loads(change.data or b"{}")
        lock.document = {unit: grant["request"] for unit, grant in document.items()}
        lock.by_hand = {grant["request"] for grant in document.values() if "reason" in grant}
        world.reasons |= {grant["reason"] for grant in document.values() if "reason" in grant}
    elif kind == "requests" and len(rest) == 1 and change.what in {"create", "set"}:
        world.changes += lock.stored is not None
        lock.stored = json.loads(change.data)
    elif kind == "requests" and len(rest) == 2:
        unit = rest[1]
        if change.what == "create":
            asked = json.loads(change.data)
            lock.requests[unit] = Request(unit, step.zxid, asked.get("labels", {}), asked.get("expires"))
            lock.seen[step.zxid] = step.time
            world.filed[step.zxid] = (unit, name)
        elif change.what == "set" and unit in lock.requests:
            lock.seen[lock.requests[unit].czxid] = step.time
        elif change.what == "delete" and unit in lock.requests:
            gone = lock.requests.pop(unit)
            world.deleted[gone.czxid] = step.zxid
            if gone.expires is not None and step.time - lock.seen[gone.czxid] > gone.expires * 1000:
                world.expired.add(gone.czxid)


def _judge(world: World, lock: Lock, name: str, before: dict[str, int], policy: Any, step: Transaction) -> None:
    """What the grants of a transaction mean, and whether they were right."""
    now, zxid = lock.valid(), step.zxid
    policy = lock.stored if policy is STORED else policy
    held = [lock.requests[unit] for unit in now if before.get(unit) == now[unit]]
    new = sorted((lock.requests[unit] for unit in now if before.get(unit) != now[unit]), key=lambda it: it.czxid)
    _judge_each(world, lock, name, before, now, new, zxid)
    chosen, held_ids = {request.czxid for request in new}, {request.czxid for request in held}
    by_policy = [request for request in new if request.czxid not in lock.by_hand]
    if not by_policy:
        return
    world.windowed += "window" in policy
    if not is_open(policy, lock.written, step.time):
        what = f"granted while no window was open, under {policy}"
        world.violations.append(Violation(POLICY, by_policy[0].unit, name, zxid, what))
    counts = lock.counts.get(party_of(policy), {0})
    for request in sorted(lock.requests.values(), key=lambda it: it.czxid):
        if request.czxid in held_ids:
            continue
        could = partial(admits, policy, [it.labels for it in held], request.labels)
        if request.czxid in chosen:
            if request in by_policy and not could(max(counts)):
                what = f"granted beside {len(held)} others, under {policy} with {sorted(counts)} members"
                world.violations.append(Violation(POLICY, request.unit, name, zxid, what))
            held.append(request)
        elif request.czxid > by_policy[-1].czxid:
            return
        elif could(min(counts)):
            what = "passed over, though it could be granted"
            world.violations.append(Violation(ORDER, request.unit, name, zxid, what))
        else:
            world.passed += 1


def _judge_each(
    world: World, lock: Lock, name: str, before: dict[str, int], now: dict[str, int], new: Iterable[Request], zxid: int
) -> None:
    """No grant is lost, and no request is granted twice."""
    for unit, czxid in before.items():
        if unit in lock.requests and lock.requests[unit].czxid == czxid and now.get(unit) != czxid:
            world.violations.append(Violation(ONCE, unit, name, zxid, f"the grant of {czxid:#x} is lost"))
    for request in new:
        if request.czxid in world.granted:
            what = f"{request.czxid:#x} is granted twice, at {world.granted[request.czxid][2]:#x} before"
            world.violations.append(Violation(ONCE, request.unit, name, zxid, what))
        world.granted[request.czxid] = (request.unit, name, zxid)


def check(
    world: World, histories: Iterable[list[dict[str, Any]]], policies: Iterable[str], finished: Iterable[str] = ()
) -> list[Violation]:
    """Every promise that was broken. `finished`: units whose last process has come to its end by itself."""
    notes: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    last: Counter[str] = Counter()
    for lines in histories:
        unit = lines[0]["unit"]
        notes[unit] += lines[1:]
        last[unit] += len({line["last_turn"] for line in lines if "last_turn" in line})
    found = list(world.violations)
    for unit, lines in notes.items():
        found += _answered(world, unit, lines)
        found += [
            Violation(TURN, unit, line["no_turn"], 0, "no turn at the end") for line in lines if "no_turn" in line
        ]
    found += _survived(world, notes)
    given = {line["reason"] for lines in notes.values() for line in lines if "reason" in line}
    for reason in world.reasons - given:
        found.append(Violation(POLICY, "", "", 0, f"granted by hand for {reason!r}, which nobody has given"))
    found += [Violation(TURN, it.unit, "", it.czxid, "a request is left at the end") for it in world.left]
    wanted = len(list(policies))
    for unit in finished:
        if last[unit] < wanted:
            found.append(Violation(TURN, unit, "", 0, f"ended after {last[unit]} of {wanted} last turns"))
    return found


def _answered(world: World, unit: str, lines: list[dict[str, Any]]) -> Iterator[Violation]:
    intents = Counter(line["request"] for line in lines if line.get("op") == "release")
    for line in lines:
        czxid, token = line.get("request"), line.get("token")
        if "op" not in line and czxid is not None:
            if world.filed.get(czxid) != (unit, line["lock"]):
                yield Violation(ANSWER, unit, line["lock"], czxid, "was told of a request that nobody has filed for it")
            elif token is not None and world.granted.get(czxid) != (unit, line["lock"], token):
                what = f"was told the token {token:#x}, and the log has {world.granted.get(czxid)}"
                yield Violation(ANSWER, unit, line["lock"], czxid, what)
        if "released" in line:
            czxid = line["released"]
            if czxid not in world.deleted:
                yield Violation(ANSWER, unit, line["lock"], czxid, "was told that it is given back, and it is not")
            elif not line["requested"] and intents[czxid] == 1 and czxid not in world.expired:
                yield Violation(ANSWER, unit, line["lock"], czxid, "was told that it had no request, and gave it back")
        if "by_hand" in line and line["by_hand"] not in world.reasons:
            yield Violation(ANSWER, unit, line["lock"], 0, "was told that it has granted by hand, and it has not")
        if "broken" in line:
            yield Violation(ANSWER, unit, "", 0, line["broken"])


def _survived(world: World, notes: Mapping[str, list[dict[str, Any]]]) -> Iterator[Violation]:
    intended = {line["request"] for lines in notes.values() for line in lines if line.get("op") == "release"}
    for czxid, zxid in world.deleted.items():
        if czxid not in intended and czxid not in world.expired:
            unit, lock = world.filed[czxid]
            yield Violation(SURVIVES, unit, lock, zxid, f"the request {czxid:#x} is gone, and nobody has given it up")
