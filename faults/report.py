"""Figures of runs, as tables that are read on a terminal and in the manual alike."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence

from faults import checker, nemesis
from faults.coordinated import Coordinated
from faults.history import TRUE, UNRESOLVED
from faults.minority import Minority
from faults.run import Outcome
from faults.soak import Soaked

OURS = {"ours", "holder", "minion", "operator"}
"""Kinds of callers that are zkcoord."""


def broken(outcome: Outcome) -> list[checker.Violation]:
    """The violations that are zkcoord's, and not those of a kazoo beside it."""
    kinds = {call.identifier: call.kind for call in outcome.calls if call.kind != "operator"}
    return [it for it in outcome.violations if kinds.get(it.identifier, "ours") in OURS]


def acquisitions(outcome: Outcome, kinds: set[str]) -> int:
    """How many calls were told that they hold a slot."""
    return sum(call.op == "lock" and call.answer == TRUE and call.kind in kinds for call in outcome.calls)


def waits(outcome: Outcome) -> dict[str, float]:
    """By kind of fault: the longest time from the end of one until a pool had a new holder, in seconds."""
    taken: defaultdict[str, list[float]] = defaultdict(list)
    for call in outcome.calls:
        if call.op == "lock" and call.answer == TRUE and call.answered:
            taken[call.pool].append(call.answered)
    for times in taken.values():
        times.sort()
    longest: defaultdict[str, float] = defaultdict(float)
    for fault in outcome.faults:
        for times in taken.values():
            at = bisect_left(times, fault.over)
            if at < len(times):
                longest[fault.kind] = max(longest[fault.kind], times[at] - fault.over)
    return dict(longest)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A simple table of reStructuredText."""
    cells = [tuple(head), *(tuple(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row) for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join((rule, lines[0], rule, *lines[1:], rule))


def of_runs(outcomes: dict[str, Outcome]) -> str:
    """What happened in runs, one column each."""
    columns = list(outcomes.values())
    alone = {"kazoo", "stock"}

    def row(name: str, values: Sequence[object]) -> list[object]:
        return [name, *values]

    def answers(outcome: Outcome) -> Counter[str]:
        return Counter(
            call.answer or "none" for call in outcome.calls if call.op == "lock" and call.kind not in {"operator"}
        )

    rows = [
        row("seed", [it.plan.seed for it in columns]),
        row("seconds under faults", [round(it.ran) for it in columns]),
        row("contenders at a time", [sum(it.plan.contenders.values()) for it in columns]),
        row("acquisitions, zkcoord", [acquisitions(it, OURS) for it in columns]),
        row("acquisitions, kazoo", [acquisitions(it, {"kazoo"}) for it in columns]),
        row("acquisitions, stock", [acquisitions(it, {"stock"}) for it in columns]),
        row("transactions in the logs", [it.transactions for it in columns]),
        row("sessions expired by the servers", [it.world.expired for it in columns]),
        row("faults that struck", [len(it.faults) for it in columns]),
        row("requests and replies lost", [it.dropped for it in columns]),
        row("greatest skew of a wall clock", [f"{it.skew / 3600:.1f} h" for it in columns]),
        row("answers in doubt (ConnectionLost)", [answers(it)[UNRESOLVED] for it in columns]),
        row("calls that hung, and were ended", [hung(it, OURS | {"stock"}) for it in columns]),
        row("processes that ended by an error", [errors(it, OURS | {"stock"}) for it in columns]),
        row("longest wait after a fault", [f"{max(waits(it).values(), default=0):.1f} s" for it in columns]),
        row("ensemble at a standstill by itself", [it.wedged for it in columns]),
    ]
    for rule, text in checker.RULES.items():
        rows.append(row(f"violations: {text}", [_violations(it, rule, alone) for it in columns]))
    return table(["", *outcomes], rows)


def of_faults(outcomes: dict[str, Outcome]) -> str:
    """How often each fault struck, and the longest wait after it."""
    rows = []
    longest = {name: waits(outcome) for name, outcome in outcomes.items()}
    struck = {name: Counter(done.kind for done in outcome.faults) for name, outcome in outcomes.items()}
    for kind in nemesis.KINDS:
        row: list[object] = [kind]
        for name in outcomes:
            row += [struck[name][kind], f"{longest[name][kind]:.1f} s" if kind in longest[name] else "-"]
        rows.append(row)
    return table(["fault", *(part for name in outcomes for part in (name, "longest wait"))], rows)


def of_soak(soaked: Soaked) -> str:
    """What the first part of the jobs left, and what was there after the last."""
    first, last = soaked.samples[0], soaked.samples[-1]
    rows = [[name, first[name], last[name]] for name in first]
    early = soaked.jobs // len(soaked.samples)
    return table(["", f"after {early:,} jobs", f"after {soaked.jobs:,} jobs"], rows)


def of_minorities(found: Sequence[Minority]) -> str:
    """What was lost while a minority of the servers was of no use, ours beside kazoo's."""
    rows: list[list[object]] = [
        ["seed", *(it.seed for it in found)],
        ["servers", *(it.servers for it in found)],
        ["faults", *(it.faults.total() for it in found)],
        ["sessions, zkcoord", *(it.sessions for it in found)],
        ["leases lost, zkcoord", *(len(it.lost) for it in found)],
        ["sessions, kazoo", *(it.kazoo_sessions for it in found)],
        ["ephemeral znodes lost, kazoo", *(it.kazoo_lost for it in found)],
        ["fresh calls", *(it.calls for it in found)],
        ["fresh calls that failed", *(len(it.failed) for it in found)],
    ]
    return table(["", *(f"run {number}" for number in range(1, len(found) + 1))], rows)


def _violations(outcome: Outcome, rule: str, alone: set[str]) -> str:
    kinds = {call.identifier: call.kind for call in outcome.calls if call.kind != "operator"}
    found = Counter(kinds.get(it.identifier, "ours") for it in outcome.violations if it.rule == rule)
    ours = sum(count for kind, count in found.items() if kind not in alone)
    others = [f"{kind} {found[kind]:,}" for kind in sorted(alone & set(found))]
    return ", ".join(others) if others and not ours else ", ".join([f"{ours:,}", *others])


def errors(outcome: Outcome, kinds: set[str]) -> int:
    """How many processes of these kinds have ended by an error of their own."""
    return sum(
        count
        for how, count in outcome.deaths.items()
        if how.partition(" ")[0] in kinds and not how.endswith(("killed", "hung"))
    )


def hung(outcome: Outcome, kinds: set[str]) -> int:
    """How many processes of these kinds were ended because a call of theirs had not."""
    return sum(name.partition("-")[0] in kinds for name in outcome.hangs)


def of_grants(runs: Sequence[Coordinated]) -> str:
    """What became of the requests for a coordinator's locks, one column for each run."""
    rows: list[tuple[object, ...]] = [
        ("units", *(run.units for run in runs)),
        ("seconds", *(round(run.ran) for run in runs)),
        ("requests", *(len(run.world.filed) for run in runs)),
        ("grants", *(len(run.world.granted) for run in runs)),
        ("policies changed", *(run.world.changes for run in runs)),
        ("grants while a window was open", *(run.world.windowed for run in runs)),
        ("passed over, because the policy held them up", *(run.world.passed for run in runs)),
        ("processes killed", *(run.deaths["-9"] for run in runs)),
        ("faults", *(len(run.faults) for run in runs)),
        ("requests and replies lost", *(run.dropped for run in runs)),
        ("calls that an outage has ended", *(run.errors for run in runs)),
        ("clocks off by at most, hours", *(round(run.skew / nemesis.HOUR, 1) for run in runs)),
        ("promises broken", *(len(run.violations) for run in runs)),
        ("calls that hung", *(len(run.hangs) for run in runs)),
    ]
    return table(("a coordinator", *(f"seed {run.plan.seed}" for run in runs)), rows)
