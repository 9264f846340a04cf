"""What the contenders asked, and what they were answered: one file of JSON lines for each identifier."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

TRUE, FALSE, UNRESOLVED = "True", "False", "ConnectionLost"


class Call(NamedTuple):
    """One call for one identifier. Between `begin` and `end`, both zxids, lies all that it did."""

    identifier: str
    kind: str
    """What called: ours, kazoo, stock, or an operator who cleans up after the dead."""
    op: str
    """lock or unlock."""
    pool: str
    begin: int
    """A zxid from before the call: where the call before it ended."""
    end: int | None
    """A zxid from after the answer. None: the caller did not live to see one."""
    answer: str | None
    """True, False, or the name of an exception."""
    force: bool = False
    ephemeral: bool = False
    last: bool = False
    """Made after the nemesis had stopped."""
    token: int | None = None
    """The fencing token that the caller was given with its lease."""
    started: float = 0.0
    answered: float | None = None
    """By the machine's monotonic clock, for figures only."""


class Writer:
    """Notes a call before it is made, and its answer. What is noted is in the file even if the process dies then."""

    def __init__(self, directory: Path, identifier: str, **facts: object) -> None:
        """Begin the history of `identifier`."""
        self._file = (directory / f"{identifier}.jsonl").open("ab", buffering=0)
        self.note(identifier=identifier, **facts)

    def note(self, **facts: object) -> None:
        """Add a line."""
        self._file.write(json.dumps(facts).encode() + b"\n")


def notes(directory: Path) -> Iterator[list[dict[str, Any]]]:
    """The lines of each history that has any."""
    return filter(None, map(_lines, sorted(directory.glob("*.jsonl"))))


def calls(directory: Path) -> list[Call]:
    """All calls, those of each identifier in their order."""
    return [call for lines in notes(directory) for call in _calls(lines)]


def _calls(lines: list[dict[str, Any]]) -> Iterator[Call]:
    who, kind, begin = lines[0]["identifier"].removesuffix(".operator"), lines[0]["kind"], lines[0].get("begin", 0)
    asked: dict[str, Any] = {}
    answered: dict[str, Any] = {}
    # An answer counts with the stamp after it: without, nothing is known of when it was given.
    for line in (*lines, {"op": None}):
        if "op" in line:
            if asked:
                yield _call(who, kind, begin, asked, {})
            asked, answered = line if line["op"] else {}, {}
        elif "answer" in line:
            answered = line
        elif "zxid" in line and asked:
            yield _call(who, kind, begin, asked, {**answered, **line})
            begin, asked = line["zxid"], {}


def _call(who: str, kind: str, begin: int, asked: dict[str, Any], answered: dict[str, Any]) -> Call:
    return Call(
        identifier=who,
        kind=kind,
        op=asked["op"],
        pool=asked["pool"],
        begin=begin,
        end=answered.get("zxid"),
        answer=answered.get("answer"),
        force=asked.get("force", False),
        ephemeral=asked.get("ephemeral", False),
        last=asked.get("last", False),
        token=answered.get("token"),
        started=asked["at"],
        answered=answered.get("at"),
    )


def unsettled(directory: Path, identifier: str) -> set[str]:
    """The pools in which `identifier` may hold a slot: by its history, it has not given it back."""
    held: set[str] = set()
    pool = ""
    for line in _lines(directory / f"{identifier}.jsonl"):
        pool = line.get("pool", pool)
        if line.get("op") == "lock":
            held.add(pool)
        elif line.get("settled"):
            held.discard(pool)
    return held


def _lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a history. A last one that was cut off by a kill says nothing."""
    return [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]]
