"""One word a thing: the words of docs/development/words.csv are in no identifier where they are not to be.

In that table `risked` is any word of a name (`is_risked`, `RiskedPlace`), `Room` the name of a type, `found()`
that of a function, and `floor.` that of a file.
"""

import csv
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RULES = list(csv.DictReader((ROOT / "docs/development/words.csv").read_text().splitlines()))
# Comments, characters and texts of Rust.
TEXT = re.compile(r"""//[^\n]*|'(?:\\.|[^\\'])'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
# Names that are on disk, or in an answer that users know.
EXCEPT = {("python/zkcoord/_types.py", "place"): "the key of `status` for the name of a queue node"}
# A cluster is Ganeti's own word, and its names are those of requests and of constants.
GANETIS = {"cluster_master", "CONFD_REQ_CLUSTER_MASTER"}


def identifiers(file):
    text = file.read_text()
    if file.suffix == ".rs":
        text = TEXT.sub('""', text)
        return re.findall(r"(?:\b(?:fn|Either::) ?)?\b[A-Za-z_]\w*", text)
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    names = [(before.string, token.string) for before, token in zip([tokens[0], *tokens], tokens, strict=False)]
    return [f"fn {name}" if before == "def" else name for before, name in names if name.isidentifier()]


def words(name):
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)}


def breaks(word, name):
    """Whether a name breaks the rule about a word."""
    if word.endswith("()"):
        return name == f"fn {word.removesuffix('()')}"
    if word[0].isupper():
        return name == word
    return word in words(name.removeprefix("fn ")) and not name.startswith("Either::")


def files(where):
    for area in where.split():
        for file in sorted((ROOT / area).rglob("*")):
            if file.suffix in {".rs", ".py", ".pyi"} and "build" not in file.parts:
                yield file


NAMES = {file: set(identifiers(file)) for file in files("src python salt_ext bench faults")}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["not"])
def test_a_thing_has_one_name(rule):
    word, found = rule["not"], []
    for file in files(rule["where"]):
        path = str(file.relative_to(ROOT))
        if word.endswith("."):
            found += [path] if file.name.startswith(word) else []
        else:
            names = {name for name in NAMES[file] if name.removeprefix("fn ") not in GANETIS}
            broken = sorted(name for name in names if breaks(word, name) and (path, name) not in EXCEPT)
            found += [f"{path}: {name}" for name in broken]
    assert not found, f"say {rule['say']}"


def test_the_exceptions_are_still_there():
    for path, name in EXCEPT:
        assert name in NAMES[ROOT / path], (path, name)
    assert set().union(*NAMES.values()) >= GANETIS


@pytest.mark.parametrize(
    ("word", "name", "broken"),
    [
        ("risked", "is_risked", True),
        ("risked", "RISKED", True),
        ("place", "WaitingPlace", True),
        ("place", "replaced", False),
        ("place", "PLACES", False),
        ("Room", "Room", True),
        ("Room", "has_room", False),
        ("Left", "Either::Left", False),
        ("found()", "fn found", True),
        ("found()", "found", False),
    ],
)
def test_a_broken_rule_would_be_seen(word, name, broken):
    assert breaks(word, name) is broken
