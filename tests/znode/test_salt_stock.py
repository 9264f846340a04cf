"""`zookeeper`, module and states, beside Salt 3006's own: the same parameters, and the same answers.

Both run the same script of calls on the same ensemble, each in a Python of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from kazoo.security import make_digest_acl_credential

from tests.support.salt import bin_dir

CONNECTION = "profile=None, hosts=None, scheme=None, username=None, password=None, default_acl=None"
SIGNATURES = {
    "modules": {
        "create": f"(path, value='', acls=None, ephemeral=False, sequence=False, makepath=False, {CONNECTION})",
        "delete": f"(path, version=-1, recursive=False, {CONNECTION})",
        "ensure_path": f"(path, acls=None, {CONNECTION})",
        "exists": f"(path, {CONNECTION})",
        "get": f"(path, {CONNECTION})",
        "get_acls": f"(path, {CONNECTION})",
        "get_children": f"(path, {CONNECTION})",
        "make_digest_acl": (
            "(username, password, read=False, write=False, create=False, delete=False, admin=False, allperms=False)"
        ),
        "set": f"(path, value, version=-1, {CONNECTION})",
        "set_acls": f"(path, acls, version=-1, {CONNECTION})",
    },
    "states": {
        "absent": f"(name, version=-1, recursive=False, {CONNECTION})",
        "acls": f"(name, acls, version=-1, {CONNECTION})",
        "present": (
            f"(name, value, acls=None, ephemeral=False, sequence=False, makepath=False, version=-1, {CONNECTION})"
        ),
    },
}

IMPORT = """
import importlib, inspect, json, sys
package = sys.argv[1]
modules, states = (importlib.import_module(f"{package}.{kind}.zookeeper") for kind in ("modules", "states"))
def public(module):
    functions = inspect.getmembers(module, lambda it: inspect.isfunction(it) and it.__module__ == module.__name__)
    return {name: function for name, function in functions if not name.startswith("_")}
"""
TELL_SIGNATURES = """
tell = lambda module: {name: str(inspect.signature(function)) for name, function in public(module).items()}
print(json.dumps({"modules": tell(modules), "states": tell(states)}))
"""
PLAY = """
config, script = json.load(sys.stdin)
modules.__salt__ = {"config.get": config.get}
modules.__opts__, modules.__grains__ = {}, {}
modules.__pillar__ = config
states.__salt__ = {f"zookeeper.{name}": function for name, function in public(modules).items()}

def shown(answer):
    if hasattr(answer, "_asdict"):  # what changes with every run is either there or 0
        fields = answer._asdict().items()
        odd = {"czxid", "mzxid", "pzxid", "ctime", "mtime"}
        fields = {name: value > 0 if name in odd else shown(value) for name, value in fields}
        return {"type": type(answer).__name__, **fields}
    if isinstance(answer, dict):
        return {key: shown(value) for key, value in answer.items()}
    return [shown(each) for each in answer] if isinstance(answer, list) else answer

answers = []
for how, function, arguments, keywords in script:
    modules.__context__ = {}  # which has what one job or one state run knows
    states.__opts__ = {"test": how == "test"}
    try:
        answer = getattr(modules if how == "call" else states, function)(*arguments, **keywords)
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    answers.append(shown(answer))
    for client in modules.__context__.get("zkconnection", {}).values():
        client.stop()
        client.close()
print(json.dumps(answers))
"""


def python(which: str, code: str, given: object = None) -> subprocess.Popen[str]:
    """Start code with the stock module and states, or with ours, as `modules` and `states`."""
    directory, package = {
        "stock": (bin_dir("3006"), "salt"),
        "ours": (Path(sys.executable).parent, "saltext.zkcoord"),
    }[which]
    command = [str(directory / "python"), "-W", "ignore", "-c", IMPORT + code, package]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, **streams, text=True)
    process.stdin.write(json.dumps(given))
    process.stdin.close()
    process.stdin = None
    return process


def told(process: subprocess.Popen[str]) -> object:
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    return json.loads(stdout)


def test_the_parameters_are_those_of_the_stock_functions_in_their_order_with_their_defaults():
    own = told(python("ours", TELL_SIGNATURES))
    stock = {kind: {name: text.replace(", **security)", ")") for name, text in it.items()} for kind, it in own.items()}
    assert stock["modules"].pop("make_acl") == "(scheme, perms, id=None)", "an addition"
    assert stock == SIGNATURES


def test_the_stock_functions_are_the_ones_in_the_table():
    assert told(python("stock", TELL_SIGNATURES)) == SIGNATURES


def test_without_a_salt_3006_the_comparison_fails_and_says_what_is_missing(monkeypatch):
    monkeypatch.delenv("ZKCOORD_SALT_3006", raising=False)
    with pytest.raises(AssertionError, match="ZKCOORD_SALT_3006 is not set"):
        python("stock", TELL_SIGNATURES)


class Differs(NamedTuple):
    """What we mend: both answers, or a part of each."""

    stock: object
    ours: object


OWNER = {"username": "salt", "password": "secret"}
WHOLE = [{**OWNER, "allperms": True}]
SHARED = [*WHOLE, {"username": "app", "password": "ä", "read": True}]


def entry(perms: int, scheme: str, name: str) -> dict[str, object]:
    return {"type": "ACL", "perms": perms, "id": {"type": "Id", "scheme": scheme, "id": name}}


WHOLE_ENTRY = entry(31, "digest", make_digest_acl_credential("salt", "secret"))
SHARED_ENTRIES = [WHOLE_ENTRY, entry(1, "digest", make_digest_acl_credential("app", "ä"))]
OPEN_ENTRY = entry(31, "world", "anyone")

# How, function, its arguments by position, its arguments by name; and what we mend, if anything.
CALLS = [
    ("call", "create", ["ROOT"], {}),
    ("call", "get", ["ROOT"], {}),
    ("call", "create", ["ROOT/a/b", "ä", SHARED, False, False, True], OWNER),
    ("call", "get_acls", ["ROOT/a"], OWNER),
    ("call", "get_acls", ["ROOT/a/b"], OWNER),
    ("call", "get", ["ROOT/a/b"], OWNER),
    ("call", "create", ["ROOT/n-"], {"sequence": True}),
    ("call", "create", ["ROOT/default", "x"], {"default_acl": WHOLE}),
    ("call", "get_acls", ["ROOT/default"], OWNER),
    ("call", "get_acls", ["ROOT/n-0000000001"], {}),
    ("call", "create", ["ROOT//odd/"], {}),
    ("call", "exists", ["ROOT/odd"], {}),
    ("call", "exists", ["ROOT/none"], {}),
    ("call", "get_children", ["ROOT/a"], OWNER),
    ("call", "get_children", ["ROOT/odd"], {}),
    ("call", "ensure_path", ["ROOT/x/y"], {"acls": WHOLE, **OWNER}, Differs("ROOT/x/y", True)),
    ("call", "ensure_path", ["ROOT/x/y"], {"acls": WHOLE, **OWNER}),
    ("call", "ensure_path", ["/"], {}),
    ("call", "get_acls", ["ROOT/x"], OWNER),
    ("call", "set", ["ROOT", "äö"], {}),
    ("call", "set", ["ROOT", "x"], {"version": 1}),
    ("call", "set_acls", ["ROOT/odd", SHARED], {}),
    ("call", "set_acls", ["ROOT/odd", WHOLE, 1], OWNER),
    ("call", "get_acls", ["ROOT/odd"], OWNER),
    ("call", "delete", ["ROOT/odd"], {"version": 0}),
    ("call", "delete", ["ROOT/a"], {"recursive": True, **OWNER}, Differs(None, True)),
    ("call", "exists", ["ROOT/a"], {}),
    ("call", "make_digest_acl", ["salt", "secret", True, False, True, False, True], {}),
    ("call", "make_digest_acl", ["ü", "ß"], {"write": True, "delete": True}),
    ("call", "make_digest_acl", ["salt", "secret"], {"read": True, "allperms": True}),
    # Errors are told.
    ("call", "get", ["ROOT/none"], {}, Differs("NoNodeError: ", "CommandExecutionError: ROOT/none does not exist")),
    ("call", "create", ["ROOT"], {}, Differs("NodeExistsError: ", "CommandExecutionError: ROOT exists already")),
]

STATES = [
    ("test", "present", ["ROOT", "one"], {}),
    ("run", "present", ["ROOT", "one"], {}),
    ("test", "present", ["ROOT/a", "one", SHARED], OWNER),
    ("run", "present", ["ROOT/a/b", "one", WHOLE], {"makepath": True, **OWNER}),
    ("run", "present", ["ROOT/a/b", "one", WHOLE], OWNER),
    ("test", "present", ["ROOT/a/b", "one", WHOLE], OWNER),
    ("test", "present", ["ROOT/a/b", "two", WHOLE], OWNER),
    ("test", "present", ["ROOT/a/b", "two", SHARED], OWNER),
    ("test", "present", ["ROOT/a/b", "one", SHARED], OWNER),
    ("run", "present", ["ROOT/a/b", "two", WHOLE], {"version": 0, **OWNER}),
    ("run", "present", ["ROOT/a/b", "three"], OWNER),
    (
        *("run", "present", ["ROOT/a/b", "four", SHARED], OWNER),
        Differs({"old": {"value": "three"}}, {"old": {"value": "three", "acls": [WHOLE_ENTRY]}}),
    ),
    ("run", "present", ["ROOT/a/b", "four", SHARED[::-1]], OWNER),
    (
        *("run", "present", ["ROOT/a/b", "four", WHOLE], OWNER),
        Differs({"old": {"value": SHARED_ENTRIES}}, {"old": {"acls": SHARED_ENTRIES}}),
    ),
    ("run", "acls", ["ROOT/a/b", SHARED], OWNER),
    (
        *("run", "present", ["ROOT", "one"], {}),
        Differs(
            {"comment": "Znode ROOT successfully updated", "changes": {}},
            {"comment": "Znode ROOT is already set to the correct value with the correct acls", "changes": {}},
        ),
    ),
    (
        *("test", "present", ["ROOT", "one"], {}),
        Differs(
            {"result": None, "changes": {"old": {"acls": [OPEN_ENTRY]}, "new": {"acls": []}}},
            {"result": True, "changes": {}},
        ),
    ),
    (
        *("test", "present", ["ROOT", "two"], {}),
        Differs({"new": {"value": "two", "acls": []}}, {"new": {"value": "two"}}),
    ),
    ("run", "acls", ["ROOT/none", WHOLE], {}),
    ("test", "acls", ["ROOT/none", WHOLE], {}),
    ("test", "acls", ["ROOT/a/b", WHOLE[0]], OWNER),
    ("run", "acls", ["ROOT/a/b", WHOLE[0]], OWNER),
    ("run", "acls", ["ROOT/a/b", WHOLE], OWNER),
    ("test", "acls", ["ROOT/a/b", WHOLE], OWNER),
    ("test", "absent", ["ROOT/a/b"], OWNER),
    ("run", "absent", ["ROOT/a/b", 3], OWNER),
    ("run", "absent", ["ROOT/a/b"], OWNER),
    ("test", "absent", ["ROOT/a/b"], OWNER),
    ("test", "absent", ["ROOT"], {"recursive": True, **OWNER}),
    ("run", "absent", ["ROOT"], {"recursive": True, **OWNER}),
]


def part(answer: object, of: object) -> object:
    """Of an answer what an expectation mentions."""
    if isinstance(answer, dict) and isinstance(of, dict) and isinstance(changes := answer.get("changes"), dict):
        answer = {**changes, **answer}
    return {key: answer.get(key) for key in of} if isinstance(answer, dict) and isinstance(of, dict) else answer


def hidden(answer: object) -> object:
    """An answer with its digests as our states show them."""
    if isinstance(answer, list):
        return [hidden(item) for item in answer]
    if not isinstance(answer, dict):
        return answer
    if answer.get("type") == "Id" and answer["scheme"] == "digest":
        return {**answer, "id": answer["id"].partition(":")[0] + ":x"}
    return {key: hidden(value) for key, value in answer.items()}


@pytest.mark.parametrize("script", [CALLS, STATES], ids=["functions", "states"])
def test_the_answers_are_those_of_the_stock_functions_but_for_what_we_mend(hosts, root, zk, script):
    config = {"zookeeper": {"hosts": hosts}, "zookeeper:hosts": hosts}
    roots = {which: f"{root}-{which}" for which in ("stock", "ours")}
    calls = json.dumps([call[:4] for call in script])
    players = {
        which: python(which, PLAY, [config, json.loads(calls.replace("ROOT", own))]) for which, own in roots.items()
    }
    answers = {
        which: json.loads(json.dumps(told(player)).replace(roots[which], "ROOT")) for which, player in players.items()
    }
    for call, stock, ours in zip(script, answers["stock"], answers["ours"], strict=True):
        if len(call) == 4:
            assert ours == (hidden(stock) if script is STATES else stock), call
            assert not isinstance(stock, str) or "Error" not in stock, f"both fail: {call}"
        else:
            mended = call[4]
            assert (part(stock, mended.stock), part(ours, mended.ours)) == (
                mended.stock,
                hidden(mended.ours) if script is STATES else mended.ours,
            ), call
