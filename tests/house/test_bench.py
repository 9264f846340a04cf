"""The parts of the benchmark that compute. What it measures is asserted nowhere."""

import csv
import json

import pytest

from bench.measure import BenchError, Target, Times, interleave, percentile, shown
from bench.render import render


def test_percentiles_are_values_that_were_measured():
    hundred = [float(number) for number in range(100, 0, -1)]
    assert (percentile(hundred, 50), percentile(hundred, 99), percentile(hundred, 100)) == (50.0, 99.0, 100.0)
    assert percentile([7.0], 99) == 7.0
    assert Times([3.0, 1.0, 2.0]).median == 2.0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123456, "0.0123"),
        (1.5, "1.50"),
        (9.999, "10.00"),
        (123.456, "123"),
        (4567.8, "4568"),
        (0.0, "0"),
        (3, "3"),
        (None, ""),
        (True, "yes"),
    ],
)
def test_numbers_are_shown_with_three_digits_that_count(value, text):
    assert shown(value) == text


def test_a_target_holds_within_its_bound():
    assert Target("a", 5.0, at_least=5).holds
    assert not Target("a", 4.99, at_least=5).holds
    assert Target("b", 1.25, at_most=1.25).holds
    assert not Target("b", 1.26, at_most=1.25, unit="ms").holds
    assert Target("b", 1.0, at_most=1.25, unit="ms").must == "at most 1.25 ms"


def test_sides_take_turns_and_the_first_rounds_are_dropped():
    done = []
    steps = {name: {"a": lambda name=name: done.append(name), "b": lambda: None} for name in ("ours", "theirs")}
    times = interleave(steps, rounds=5, warm_up=2)
    assert {key: len(taken.ms) for key, taken in times.items()} == {
        (side, step): 5 for side in ("ours", "theirs") for step in ("a", "b")
    }
    rounds = [set(done[start : start + 2]) for start in range(0, len(done), 2)]
    assert rounds == [{"ours", "theirs"}] * 7


def test_a_call_that_was_refused_is_no_measure():
    with pytest.raises(BenchError, match="answered False"):
        interleave({"ours": {"lock": lambda: False}}, rounds=1, warm_up=0)


def test_the_manual_has_the_tables_of_a_run(tmp_path):
    results = {
        "machine": {"processors": 2},
        "seconds": 280,
        "targets": [{"work": "lock", "figure": 5.5, "unit": "x", "must": "at least 5 x", "holds": True}],
        "tables": {"locks": {"columns": ["who", "ms"], "rows": [["zkcoord", 2.0]]}},
    }
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "performance-gone.csv").touch()
    render(tmp_path / "results.json", tmp_path)
    written = {
        file.name: list(csv.reader(file.read_text().splitlines())) for file in tmp_path.glob("performance-*.csv")
    }
    assert written == {
        "performance-locks.csv": [["who", "ms"], ["zkcoord", "2.00"]],
        "performance-machine.csv": [["what", "which"], ["processors", "2"], ["seconds of the run", "280"]],
        "performance-targets.csv": [
            ["work", "measured", "must be", "holds"],
            ["lock", "5.50 x", "at least 5 x", "yes"],
        ],
    }
