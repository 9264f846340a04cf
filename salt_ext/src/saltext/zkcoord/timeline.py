"""Who waited for a slot or a lock, who held one, and when: a picture of the events that Salt's bus carried.

    salt-run state.event 'zk_concurrency/*' > events.txt     # until Ctrl-C
    python -m saltext.zkcoord.timeline events.txt -o timeline.svg
    python -m saltext.zkcoord.timeline events.txt --text

The events are a JSON list of objects with ``tag``, ``data`` and ``_stamp``, or lines as `salt-run state.event` writes
them. Events with other tags than ``zk_concurrency/MINION/KIND`` and ``zk_coordinator/MINION/KIND`` are skipped. The
picture needs matplotlib, and the text needs nothing. The same events make the same bytes. Times are those at which
Salt's master has received the events.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Event", "Row", "Span", "TimelineError", "draw", "parse", "rows", "save", "text"]

_SLOTS = {kind: kind for kind in ("waiting", "acquired", "released", "forced", "lost", "evicted")}
# The events of a coordinator, each with the event of a pool that is drawn like it. A request that is given up, or
# dropped, before it was granted ends a wait.
_GRANTS = {
    "requested": "waiting",
    "granted": "acquired",
    "released": "released",
    "withdrawn": "released",
    "revoked": "lost",
    "dropped": "lost",
}
_KINDS = {"zk_concurrency": _SLOTS, "zk_coordinator": _GRANTS}
# Colours that differ in lightness and in hue, for all eyes and for print: those of Okabe and Ito.
_WAITING, _HOLDING, _FORCED, _LOST = "#f0c987", "#0072b2", "#d55e00", "#000000"


class TimelineError(Exception):
    """The events cannot be read, or there is nothing to draw with. The message is one line."""


@dataclass(frozen=True)
class Event:
    """What somebody did at a pool."""

    time: datetime.datetime
    kind: str
    path: str
    identifier: str
    position: int | None = None
    waited: float = 0.0
    """Seconds."""


@dataclass(frozen=True)
class Span:
    """From when to when, in seconds since the first event. An open span has no end among the events."""

    start: float
    end: float
    open: bool = False
    positions: tuple[tuple[float, int], ...] = ()
    """Pairs: when the position in the queue has changed, and to which."""


@dataclass
class Row:
    """What one identifier did at one pool, in seconds since the first event."""

    path: str
    identifier: str
    waits: list[Span] = field(default_factory=list)
    holds: list[Span] = field(default_factory=list)
    forced: list[float] = field(default_factory=list)
    lost: list[float] = field(default_factory=list)


def parse(source: str) -> list[Event]:
    """Read events from a JSON list or from the lines of `salt-run state.event`; the earliest comes first.

    TimelineError says what is wrong with them, or that there are none.
    """
    found = [event for raw in _raw_events(source) if (event := _event(raw))]
    if not found:
        raise TimelineError(f"no {' nor '.join(_KINDS)} events in it")
    # The sort keeps events of the same time in the order in which they came.
    return sorted(found, key=lambda event: event.time)


def _raw_events(source: str) -> list[Any]:
    if source.lstrip()[:1] in {"", "[", "{"}:
        try:
            events = json.loads(source or "[]")
        except ValueError as error:
            raise TimelineError(f"not JSON: {error}") from None
        return events if isinstance(events, list) else [events]
    events = []
    for number, line in enumerate(source.splitlines(), 1):
        tag, _, data = line.partition("\t")
        try:
            events.append({"tag": tag, "data": json.loads(data)} if line.strip() else None)
        except ValueError:
            message = f"line {number} is not `TAG<tab>JSON`, as salt-run state.event writes it with pretty=False"
            raise TimelineError(message) from None
    return events


def _event(raw: Any) -> Event | None:
    """One event; None if it is none of ours."""
    if not isinstance(raw, Mapping) or not isinstance(raw.get("data"), Mapping):
        return None
    prefix, _, named = str(raw.get("tag")).rpartition("/")
    kind = _KINDS.get(prefix.partition("/")[0], {}).get(named)
    if kind is None:
        return None
    outer = raw["data"]
    # The master wraps the data of a minion's event once more, and not those of its own events.
    data = outer["data"] if isinstance(outer.get("data"), Mapping) else outer
    stamp = raw.get("_stamp") or outer.get("_stamp")
    try:
        time = datetime.datetime.fromisoformat(str(stamp))
        position, waited = data.get("position"), data.get("waited")
        return Event(
            time if time.tzinfo else time.replace(tzinfo=datetime.timezone.utc),
            kind,
            str(data["path"]),
            str(data["identifier"]),
            None if position is None else int(position),
            float(waited or 0),
        )
    except KeyError as error:
        raise TimelineError(f"an event {raw['tag']} without {error.args[0]}") from None
    except (TypeError, ValueError) as error:
        raise TimelineError(f"an event {raw['tag']} that makes no sense: {error}") from None


def rows(events: Sequence[Event]) -> list[Row]:
    """What each identifier did at each pool, in the order in which they came."""
    beginning = min(event.time - datetime.timedelta(seconds=event.waited) for event in events)
    followed: dict[tuple[str, str], _Follower] = {}
    for event in events:
        key = (event.path, event.identifier)
        if key not in followed:
            followed[key] = _Follower(Row(*key))
        followed[key].see(event, (event.time - beginning).total_seconds())
    end = (events[-1].time - beginning).total_seconds()
    paths = list(dict.fromkeys(path for path, _ in followed))
    done = [follower.finish(end) for follower in followed.values()]
    return sorted(done, key=lambda row: paths.index(row.path))


class _Follower:
    """Makes spans of one identifier's events."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.waits_since: float | None = None
        self.holds_since: float | None = None
        self.positions: list[tuple[float, int]] = []
        self.is_evicted = False

    def see(self, event: Event, now: float) -> None:
        # Whose slot was taken away learns of it later, and tells of the same loss then.
        is_known = self.is_evicted and event.kind == "lost"
        self.is_evicted = event.kind == "evicted"
        if is_known:
            return
        if event.kind == "waiting":
            self._end_hold(now, open_=True)  # there was no event for the end of the hold
            if self.waits_since is None:
                self.waits_since = now - event.waited
            if event.position is not None:
                self.positions.append((now, event.position))
        elif event.kind in {"acquired", "forced"}:
            if self.waits_since is None and self.holds_since is None and event.waited:
                self.waits_since = now - event.waited
            self._end_wait(now)
            self.holds_since = now if self.holds_since is None else self.holds_since
        else:
            if self.waits_since is None and self.holds_since is None:
                self.holds_since = 0.0  # the hold began before the first event
            self._end_wait(now)
            self._end_hold(now)
        if event.kind == "forced":
            self.row.forced.append(now)
        if event.kind in {"lost", "evicted"}:
            self.row.lost.append(now)

    def finish(self, now: float) -> Row:
        self._end_wait(now, open_=True)
        self._end_hold(now, open_=True)
        return self.row

    def _end_wait(self, now: float, *, open_: bool = False) -> None:
        if self.waits_since is not None:
            self.row.waits.append(Span(self.waits_since, now, open_, tuple(self.positions)))
        self.waits_since = None
        self.positions = []

    def _end_hold(self, now: float, *, open_: bool = False) -> None:
        if self.holds_since is not None:
            self.row.holds.append(Span(self.holds_since, now, open_))
        self.holds_since = None


def text(events: Sequence[Event], width: int = 100) -> str:
    """Draw the timeline with characters, in lines of at most `width`."""
    drawn = rows(events)
    names = max(len(row.identifier) for row in drawn)
    columns = max(10, width - names - len("  waits s  holds s  "))
    length = _length(drawn)
    lines = [_title(events, drawn, length), "", f"{'':{names}}  waits s  holds s  {_axis(length, columns)}"]
    for path in dict.fromkeys(row.path for row in drawn):
        lines += [path] if _pools(drawn) > 1 else []
        for row in (row for row in drawn if row.path == path):
            sums = f"{_sum(row.waits):7.2f}  {_sum(row.holds):7.2f}"
            lines.append(f"{row.identifier:{names}}  {sums}  {_bar(row, length, columns)}".rstrip())
    lines += ["", ". waits (a number: its place in the queue)   # holds   > no end seen   ! forced   x lost"]
    return "\n".join(lines) + "\n"


def _bar(row: Row, length: float, columns: int) -> str:
    bar, scale = [" "] * columns, (columns - 1) / length
    for spans, character in ((row.waits, "."), (row.holds, "#")):
        for span in spans:
            first, last = int(span.start * scale), int(span.end * scale)
            bar[first : last + 1] = character * (last + 1 - first)
            if span.open:
                bar[last] = ">"
            for when, position in span.positions:
                if first < int(when * scale) < last and position < 10:
                    bar[int(when * scale)] = str(position)
    for times, character in ((row.forced, "!"), (row.lost, "x")):
        for when in times:
            bar[int(when * scale)] = character
    return "".join(bar)


def _axis(length: float, columns: int) -> str:
    axis = ""
    for tenth in range(0, 10, 2):
        label = f"|{length * tenth / 10:.1f} s"
        axis = axis.ljust(int((columns - 1) * tenth / 10)) + label
    return axis


def draw(events: Sequence[Event]) -> Figure:
    """Draw the timeline as a matplotlib figure. TimelineError says that matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - the text does not need it, and its lack is one line
        from matplotlib.lines import Line2D  # noqa: PLC0415
        from matplotlib.patches import Patch  # noqa: PLC0415
    except ImportError as error:
        raise TimelineError(f"drawing needs matplotlib ({error}): pip install 'saltext.zkcoord[timeline]'") from None
    drawn = rows(events)
    length = _length(drawn)
    height = 0.4 + 0.4 * len(drawn)  # inches
    figure = Figure(figsize=(8, height))
    axes = figure.add_axes((0, 0, 1, 1))  # `save` makes room for the labels around the axes
    for row_number, row in enumerate(drawn):
        for span in row.waits:
            _draw_span(axes, row_number, span, 0.34, _WAITING, length)
            ends = [*(when for when, _ in span.positions[1:]), span.end]
            for (when, position), until in zip(span.positions, ends, strict=False):
                if until - when > 0.02 * length:
                    axes.annotate(
                        str(position), (when, row_number), (3, 0), textcoords="offset points", va="center", size=8
                    )
        for span in row.holds:
            _draw_span(axes, row_number, span, 0.62, _HOLDING, length)
        axes.plot(row.forced, [row_number] * len(row.forced), "^", color=_FORCED, mec="white", ms=10, clip_on=False)
        axes.plot(row.lost, [row_number] * len(row.lost), "X", color=_LOST, mec="white", ms=9, clip_on=False)
    several = _pools(drawn) > 1
    axes.set_yticks(
        range(len(drawn)), [f"{row.identifier}  {row.path}" if several else row.identifier for row in drawn]
    )
    axes.set_ylim(len(drawn) - 0.4, -0.6)
    axes.set_xlim(0, length * 1.03)
    axes.set_xlabel("seconds since the first event")
    axes.set_title(_title(events, drawn, length), loc="left", size=11)
    axes.grid(axis="x", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    every = [span for row in drawn for span in (*row.waits, *row.holds)]
    legend = [
        (True, Patch(color=_WAITING, label="waits (the number: its place in the queue)")),
        (True, Patch(color=_HOLDING, label="holds a slot")),
        (any(span.open for span in every), Line2D([], [], ls="", marker=">", color="#777777", label="no end seen")),
        (any(row.forced for row in drawn), _key(Line2D, "^", _FORCED, "took it by force")),
        (any(row.lost for row in drawn), _key(Line2D, "X", _LOST, "lost it")),
    ]
    handles = [handle for shown, handle in legend if shown]
    below = {"loc": "upper left", "bbox_to_anchor": (0, -0.55 / height), "borderaxespad": 0, "borderpad": 0}
    axes.legend(handles=handles, ncols=len(handles), frameon=False, fontsize=9, **below)
    return figure


def _draw_span(axes: Any, row_number: int, span: Span, height: float, color: str, length: float) -> None:
    axes.barh(row_number, max(span.end - span.start, length / 500), left=span.start, height=height, color=color)
    if span.open:
        axes.plot(span.end, row_number, ">", color="#777777", mec="white", ms=10, clip_on=False)


def _key(line: Any, marker: str, color: str, label: str) -> Any:
    return line([], [], ls="", marker=marker, color=color, label=label)


def save(events: Sequence[Event], file: Path) -> None:
    """Write the timeline as a picture, SVG or PNG by the file's name. The same events make the same bytes."""
    kind = file.suffix.lower().removeprefix(".")
    if kind not in {"svg", "png"}:
        raise TimelineError(f"{file}: a picture is .svg or .png")
    figure = draw(events)
    from matplotlib import rc_context  # noqa: PLC0415 - `draw` has found it

    nothing = {"svg": ("Date", "Creator"), "png": ("Software",)}[kind]
    with rc_context({"svg.hashsalt": "zkcoord", "svg.fonttype": "none"}):
        figure.savefig(
            file, format=kind, dpi=120, bbox_inches="tight", pad_inches=0.15, metadata=dict.fromkeys(nothing)
        )


def _title(events: Sequence[Event], drawn: Sequence[Row], length: float) -> str:
    paths = ", ".join(dict.fromkeys(row.path for row in drawn)) if _pools(drawn) <= 2 else f"{_pools(drawn)} pools"
    who = len({row.identifier for row in drawn})
    begin = events[0].time.astimezone(datetime.timezone.utc)
    return f"{paths}: {who} contender{'s' * (who != 1)}, {length:.1f} s from {begin:%Y-%m-%d %H:%M:%S} UTC"


def _length(drawn: Iterable[Row]) -> float:
    ends = [span.end for row in drawn for span in (*row.waits, *row.holds)]
    return max([*ends, 0.001])


def _sum(spans: Iterable[Span]) -> float:
    return sum(span.end - span.start for span in spans)


def _pools(drawn: Iterable[Row]) -> int:
    return len({row.path for row in drawn})


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw: ``python -m saltext.zkcoord.timeline EVENTS [-o FILE.svg] [--text]``.

    :returns: the exit status: 0, or 1 with one line on standard error
    """
    parser = argparse.ArgumentParser(
        "python -m saltext.zkcoord.timeline", description="Draw who waited for a slot, who held one, and when."
    )
    parser.add_argument("events", type=Path, help="a JSON list, or what salt-run state.event wrote")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the picture: .svg or .png")
    parser.add_argument("--text", action="store_true", help="draw on standard output, with characters")
    parser.add_argument("--path", help="this pool only")
    parser.add_argument("--width", type=int, default=100, help="of the text's lines (default: %(default)s)")
    options = parser.parse_args(arguments)
    if not options.output and not options.text:
        parser.error("one of -o FILE and --text is needed")
    try:
        events = _read(options.events, options.path)
        if options.output:
            save(events, options.output)
        if options.text:
            print(text(events, options.width), end="")
    except TimelineError as error:
        problem = str(error)
    except OSError as error:
        problem = f"{error.filename or 'standard output'}: {error.strerror}"
    else:
        return 0
    print("saltext.zkcoord.timeline:", *problem.split(), file=sys.stderr)
    return 1


def _read(file: Path, path: str | None) -> list[Event]:
    try:
        events = parse(file.read_text())
    except UnicodeDecodeError:
        raise TimelineError(f"{file}: not text") from None
    except TimelineError as error:
        raise TimelineError(f"{file}: {error}") from None
    chosen = [event for event in events if path in {None, event.path}]
    if not chosen:
        known = ", ".join(sorted({event.path for event in events}))
        raise TimelineError(f"{file}: no events of {path}, but of {known}")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
