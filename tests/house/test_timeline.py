"""The timeline: events from Salt's bus made into text and into a picture."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from saltext.zkcoord import timeline

DOCS = Path(__file__).parents[2] / "docs"
BEGIN = datetime.datetime(2026, 11, 20, 17, 0, tzinfo=datetime.timezone.utc)


def event(when: float, who: str, kind: str, path: str = "/restart/web", **data: object) -> dict[str, object]:
    """An event as a minion's comes over the master's bus."""
    stamp = (BEGIN + datetime.timedelta(seconds=when)).isoformat()
    tag = f"zk_concurrency/{who}/{kind}"
    inner = {"path": path, "identifier": who, **data}
    return {"tag": tag, "data": {"id": who, "cmd": "_minion_event", "data": inner, "_stamp": stamp}}


ROLLING = [
    event(0.5, "web1", "acquired", waited=0.5),
    event(0.5, "web2", "waiting", position=2),
    event(2.5, "web2", "waiting", position=1),
    event(4.5, "web1", "released"),
    event(4.5, "web2", "acquired", waited=4.25),
    event(5.5, "web3", "forced", reason="must"),
    event(7.5, "web3", "lost"),
    event(8.0, "web4", "waiting", position=1),
    event(10.0, "web2", "waiting", position=1, path="/other"),
]


def drawn(*events: dict[str, object]) -> dict[tuple[str, str], timeline.Row]:
    found = timeline.rows(timeline.parse(json.dumps(events)))
    return {(row.path, row.identifier): row for row in found}


def spans(found: list[timeline.Span]) -> list[tuple[float, float, bool]]:
    return [(span.start, span.end, span.open) for span in found]


class TestRows:
    def test_who_waited_and_held_when(self):
        rows = drawn(*ROLLING)
        web1, web2 = rows["/restart/web", "web1"], rows["/restart/web", "web2"]
        assert spans(web1.waits) == [(0, 0.5, False)]
        assert spans(web1.holds) == [(0.5, 4.5, False)]
        assert spans(web2.waits) == [(0.5, 4.5, False)]
        assert web2.waits[0].positions == ((0.5, 2), (2.5, 1))

    def test_a_coordinators_requests_and_grants_are_waits_and_holds(self):
        """Who decides tells of the grant, in its own name, and of whom it is."""

        def of_lock(when: float, by: str, kind: str, who: str) -> dict[str, object]:
            told = event(when, by, kind, "/coordinator/salt/restart", identifier=who)
            return {**told, "tag": f"zk_coordinator/{by}/{kind}"}

        rows = drawn(
            of_lock(0, "web1", "requested", "web1"),
            of_lock(0, "web1", "granted", "web1"),
            of_lock(1, "web2", "requested", "web2"),
            of_lock(2, "web3", "requested", "web3"),
            of_lock(3, "web1", "released", "web1"),
            of_lock(3, "web1", "granted", "web2"),
            of_lock(4, "web1", "kept", "web2"),
            of_lock(5, "master", "revoked", "web2"),
            of_lock(6, "web3", "withdrawn", "web3"),
        )
        web1, web2, web3 = (rows["/coordinator/salt/restart", f"web{number}"] for number in (1, 2, 3))
        assert spans(web1.holds) == [(0, 3, False)]
        assert (spans(web2.waits), spans(web2.holds), web2.lost) == ([(1, 3, False)], [(3, 5, False)], [5])
        assert (spans(web3.waits), spans(web3.holds)) == ([(2, 6, False)], [])

    def test_what_has_no_end_among_the_events_lasts_to_the_last_one_and_is_open(self):
        rows = drawn(*ROLLING)
        assert spans(rows["/restart/web", "web2"].holds) == [(4.5, 10, True)]
        assert spans(rows["/restart/web", "web4"].waits) == [(8, 10, True)]

    def test_forced_begins_a_hold_and_lost_ends_it(self):
        web3 = drawn(*ROLLING)["/restart/web", "web3"]
        assert (spans(web3.holds), web3.forced, web3.lost) == ([(5.5, 7.5, False)], [5.5], [7.5])

    def test_a_hold_taken_by_force_counts_once_if_both_are_told(self):
        rows = drawn(event(0, "a", "acquired"), event(0, "a", "forced"), event(2, "a", "released"))
        assert spans(rows["/restart/web", "a"].holds) == [(0, 2, False)]

    def test_pools_are_rows_of_their_own_together(self):
        assert list(drawn(*ROLLING, event(11, "web5", "acquired"))) == [
            *(("/restart/web", f"web{number}") for number in range(1, 6)),
            ("/other", "web2"),
        ]

    def test_waiting_again_without_a_release_ends_the_hold_as_open(self):
        rows = drawn(event(0, "a", "acquired"), event(3, "a", "waiting"), event(5, "a", "acquired"))
        row = rows["/restart/web", "a"]
        assert (spans(row.waits), spans(row.holds)) == ([(3, 5, False)], [(0, 3, True), (5, 5, True)])

    def test_a_release_of_what_was_taken_before_the_first_event(self):
        rows = drawn(event(0, "a", "acquired"), event(2, "b", "released"))
        assert spans(rows["/restart/web", "b"].holds) == [(0, 2, False)]

    def test_losing_the_place_in_the_queue_ends_the_wait(self):
        rows = drawn(event(0, "a", "waiting"), event(2, "a", "lost"), event(5, "b", "acquired"))
        row = rows["/restart/web", "a"]
        assert (spans(row.waits), row.holds, row.lost) == ([(0, 2, False)], [], [2])

    def test_a_slot_that_is_taken_away_is_lost_once(self):
        rows = drawn(
            event(0, "a", "acquired"), event(2, "a", "evicted"), event(4, "a", "lost"), event(5, "b", "acquired")
        )
        row = rows["/restart/web", "a"]
        assert (spans(row.holds), row.lost) == ([(0, 2, False)], [2])
        again = drawn(event(0, "a", "evicted"), event(1, "a", "acquired"), event(3, "a", "lost"))["/restart/web", "a"]
        assert (spans(again.holds), again.lost) == ([(0, 0, False), (1, 3, False)], [0, 3])

    def test_events_in_any_order(self):
        assert drawn(*reversed(ROLLING)) == drawn(*ROLLING)


class TestParse:
    def test_the_lines_of_salt_run_state_event(self):
        lines = "".join(f"{one['tag']}\t{json.dumps(one['data'])}\n" for one in ROLLING)
        noise = 'salt/auth\t{"_stamp": "2026-11-20T17:00:00", "id": "web1"}\n\n'
        assert timeline.parse(noise + lines) == timeline.parse(json.dumps(ROLLING))

    def test_events_of_a_master_and_stamps_of_salt_3006(self):
        flat = {
            "tag": "zk_concurrency/master/acquired",
            "data": {"path": "/p", "identifier": "master", "_stamp": "2026-11-20T17:00:01.250000"},
        }
        (found,) = timeline.parse(json.dumps([flat]))
        assert (found.identifier, found.time) == ("master", BEGIN + datetime.timedelta(seconds=1.25))

    def test_what_is_none_of_ours_is_passed_over(self):
        others = [
            {"tag": "salt/job/1/ret/web1", "data": {"_stamp": "x"}},
            {"tag": "zk_concurrency/web1/something", "data": {}},
            {"tag": "zk_concurrency/web1/waiting"},
            "text",
            None,
        ]
        assert timeline.parse(json.dumps([*others, *ROLLING])) == timeline.parse(json.dumps(ROLLING))


class TestText:
    def test_text(self):
        text = timeline.text(timeline.parse(json.dumps(ROLLING[:5])), width=64)
        assert text.splitlines() == [
            "/restart/web: 2 contenders, 4.5 s from 2026-11-20 17:00:00 UTC",
            "",
            "      waits s  holds s  |0.0 s |0.9 s  |1.8 s  |2.7 s  |3.6 s",
            "web1     0.50     4.00  ....####################################",
            "web2     4.00     0.00      .................1.................>",
            "",
            ". waits (a number: its place in the queue)   # holds   > no end seen   ! forced   x lost",
        ]

    def test_marks_and_pools(self):
        text = timeline.text(timeline.parse(json.dumps(ROLLING)))
        assert re.search(r"^web3 .* !#+x$", text, re.MULTILINE)
        assert [line for line in text.splitlines() if line.startswith("/")][1:] == ["/restart/web", "/other"]

    def test_one_event_is_enough(self):
        text = timeline.text(timeline.parse(json.dumps([event(0, "a", "acquired")])))
        assert re.search(r"^a .*>", text, re.MULTILINE)

    def test_lines_are_as_wide_as_asked_for(self):
        text = timeline.text(timeline.parse(json.dumps(ROLLING)), width=70)
        chart = text.splitlines()[2:-2]
        assert max(map(len, chart)) == 70


class TestCommand:
    @pytest.fixture
    def events(self, tmp_path):
        file = tmp_path / "events.json"
        file.write_text(json.dumps(ROLLING))
        return file

    def complaint(self, capsys, *arguments):
        """The one line on stderr of a run that fails."""
        assert timeline.main([str(argument) for argument in arguments]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        return err.removeprefix("saltext.zkcoord.timeline: ").rstrip()

    def test_a_picture_that_names_everybody_and_is_the_same_each_time(self, events, tmp_path):
        pictures = []
        for name in ("one.svg", "two.svg"):
            command = [sys.executable, "-m", "saltext.zkcoord.timeline", events, "-o", tmp_path / name]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert (done.returncode, done.stdout) == (0, ""), done.stderr
            pictures.append((tmp_path / name).read_text())
        assert pictures[0] == pictures[1]
        for text in ("web1  /restart/web", "web2  /other", "holds a slot", "took it by force", "lost it"):
            assert f">{text}<" in pictures[0]
        assert "seconds since the first event" in pictures[0]
        assert "dc:date" not in pictures[0]

    def test_a_png(self, events, tmp_path):
        assert timeline.main([str(events), "-o", str(tmp_path / "it.png")]) == 0
        assert (tmp_path / "it.png").read_bytes().startswith(b"\x89PNG")

    def test_text_of_one_pool(self, events, capsys):
        assert timeline.main([str(events), "--text", "--path", "/other"]) == 0
        assert capsys.readouterr().out.startswith("/other: 1 contender, ")

    def test_text_needs_no_library(self, events):
        code = (
            "import sys; sys.modules['matplotlib'] = None\nfrom saltext.zkcoord.timeline import main\nsys.exit(main())"
        )
        command = [sys.executable, "-c", code, events]
        done = subprocess.run([*command, "--text"], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        done = subprocess.run([*command, "-o", "it.svg"], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(r"saltext.zkcoord.timeline: .*pip install 'saltext.zkcoord\[timeline\]'\n", done.stderr)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "no zk_concurrency nor zk_coordinator events in it"),
            ("[]", "no zk_concurrency nor zk_coordinator events in it"),
            ('[{"tag": ', "not JSON"),
            ("salt/auth {}\n", "line 1 is not"),
            ('a\t{}\nzk_concurrency/a/waiting\t{"path"\n', "line 2 is not"),
            (b"\xff\xfe\x00", "not text"),
            (json.dumps([{"tag": "zk_concurrency/a/waiting", "data": {"_stamp": "2026-11-20"}}]), "without path"),
            (json.dumps([event(0, "a", "waiting", position="first")]), "makes no sense"),
            (json.dumps([{"tag": "zk_concurrency/a/waiting", "data": {}}]), "makes no sense"),
        ],
    )
    def test_what_is_wrong_with_the_events_is_one_line(self, content, message, tmp_path, capsys):
        file = tmp_path / "events"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        complaint = self.complaint(capsys, file, "--text")
        assert complaint.startswith(f"{file}: ")
        assert message in complaint

    def test_a_file_that_is_not_there_and_a_pool_that_is_not_in_it(self, events, tmp_path, capsys):
        assert "No such file" in self.complaint(capsys, tmp_path / "none", "--text")
        assert "no events of /x, but of /other, /restart/web" in self.complaint(
            capsys, events, "--text", "--path", "/x"
        )

    def test_a_picture_of_another_kind_or_in_a_place_that_is_not_there(self, events, tmp_path, capsys):
        assert "a picture is .svg or .png" in self.complaint(capsys, events, "-o", tmp_path / "it.gif")
        assert "No such file" in self.complaint(capsys, events, "-o", tmp_path / "none" / "it.svg")

    def test_neither_picture_nor_text_is_a_wrong_call(self, events, capsys):
        with pytest.raises(SystemExit) as ended:
            timeline.main([str(events)])
        assert ended.value.code == 2
        assert "one of -o FILE and --text is needed" in capsys.readouterr().err


def test_the_picture_in_the_documentation_is_that_of_the_events_beside_it(tmp_path):
    made = tmp_path / "made.svg"
    assert timeline.main([str(DOCS / "rolling-restart.events.json"), "-o", str(made)]) == 0
    texts = [re.findall(r"<text [^>]*>([^<]*)<", file.read_text()) for file in (made, DOCS / "rolling-restart.svg")]
    assert texts[0] == texts[1]
    assert {"web1", "web2", "web3", "web4"} <= set(texts[0])
