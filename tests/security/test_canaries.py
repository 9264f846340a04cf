"""No secret comes out: passwords and digests are put in, everything is called and everything is searched for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.security import make_digest_acl_credential
from zkcoord.testing import Ensemble

from tests.support.cluster import ExampleCluster
from tests.support.salt import LONG, Minionless

PASSWORD, OTHER = "canary-ed5f7a", "canary-0b1c9d"
USER = {"username": "ann", "password": PASSWORD}
DEFAULT_ACL = [{**USER, "allperms": True}, {"username": "bob", "password": OTHER, "read": True}]
HASHES = [make_digest_acl_credential(*it).partition(":")[2] for it in (("ann", PASSWORD), ("bob", OTHER))]
CANARIES = ["canary-", *HASHES]


def leaks(text: str) -> list[str]:
    return [line for line in text.splitlines() if any(canary in line for canary in CANARIES)]


# Every function into every class of error, at the lowest log levels there are, and what can be seen of each error.
EVERYTHING = """
import faulthandler, gc, io, logging, os, pickle, threading, traceback
from pathlib import Path
logging.basicConfig(level=1, stream=sys.stderr)
faulthandler.enable()
secrets = json.loads(Path(file).read_text())
user, acl, bob = secrets["user"], secrets["acl"], secrets["bob"]
from zkcoord import errors, znode

def show(error):
    seen = []
    while error is not None and error not in seen:
        seen.append(error)
        more = [error.__dict__, error.args, getattr(error, "__notes__", None), pickle.dumps(error)]
        print(type(error).__name__, str(error), repr(error), more)
        print("".join(traceback.format_exception(error)))
        error = error.__cause__ or error.__context__

def call(function, *args, **kwargs):
    try:
        print(repr(function(*args, **kwargs)))
    except Exception as error:
        show(error)

def everything(path, hosts, **it):
    on = {"zk_hosts": hosts, "timeout": 2, **it}
    for force in (False, True):
        call(zkcoord.lock, path, identifier="a", force=force, **on)
    call(zkcoord.lock, path, identifier="c", max_concurrency=7, **on)
    call(zkcoord.lock_holders, path, **on)
    call(zkcoord.party_members, path, blocking=True, min_nodes=9, **{**on, "timeout": 0.1})
    call(zkcoord.status, path, **on)
    call(zkcoord.set_max, path, 1, **on)
    call(zkcoord.unlock, path, identifier="a", **on)
    call(znode.create, path + "/z", "x", **on)
    call(znode.create, path + "/z", "x", **on)
    call(znode.create, path + "/z/z/z", "x", **on)
    call(znode.get, path, **on)
    call(znode.children, path, **on)
    call(znode.exists, path, **on)
    call(znode.set, path + "/z", "x", version=7, **on)
    call(znode.set_acls, path + "/z", {**user, "read": "yes"}, **on)
    call(znode.delete, path, **on)
    call(znode.delete, path, version=9, **on)

everything(root, hosts, **user, default_acl=acl)
everything(root, hosts, **bob, default_acl=acl)
everything(root, hosts, default_acl=acl)
everything(root, hosts, **{**user, "password": user["password"] + "-wrong"}, default_acl=acl)
everything("/a/../b", hosts, **user, default_acl=acl)
everything(root, "127.0.0.1:1", **{**user, "timeout": 0.05}, default_acl=acl)
everything(root, strict, **user, default_acl=acl)
everything(root, hosts, **user, scheme="sasl", default_acl=acl)
everything(root, hosts, password=user["password"], default_acl=acl)
everything(root, hosts, username=[user], password=[user["password"]], default_acl=acl)
everything(root, hosts, username="a:" + user["password"], password="x")
everything(root, hosts, **user, default_acl=user["password"])
for odd in ({**user}, {**user, "read": user["password"]}, {user["password"]: True}, {**user, "perms": "r"},
            {"scheme": "digest", "id": "ann:" + user["password"], "perms": "r"}, [[user]],
            {"scheme": "custom", "id": user["password"], "perms": "r"}):
    everything(root, hosts, **user, default_acl=odd)
settings = {"hosts": hosts, **user, "default_acl": acl}
from_profile = lambda key, default: settings.get(key.rpartition(":")[2], default)
everything(root + "-profile", None, config_get=from_profile)

def raising(number, frame):
    raise RuntimeError("from a handler")
signal.signal(signal.SIGALRM, raising)
signal.setitimer(signal.ITIMER_REAL, 0.2)
call(zkcoord.lock, root, hosts, identifier="b", **user, default_acl=acl)
signal.setitimer(signal.ITIMER_REAL, 0.2)
signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
call(zkcoord.lock, root, hosts, identifier="b", raise_on_signal=True, **user, default_acl=acl)

for thread in Path("/proc/self/task").iterdir():
    print((thread / "comm").read_text())
print(Path("/proc/self/cmdline").read_bytes(), Path("/proc/self/maps").exists())
faulthandler.dump_traceback(all_threads=True)
zkcoord.close()
print("the end")
"""


STRICT = {
    "enforce.auth.enabled": "true",
    "enforce.auth.schemes": "x509",
    "authProvider.1": "org.apache.zookeeper.server.auth.X509AuthenticationProvider",
}


@pytest.fixture
def strict() -> Iterator[str]:
    """A server that takes no digest."""
    with Ensemble(1, config=STRICT) as ensemble:
        yield ensemble.hosts


def test_the_core_tells_no_secret(hosts, root, strict, script, tmp_path, monkeypatch):
    monkeypatch.setenv("RUST_LOG", "trace")
    monkeypatch.setenv("RUST_BACKTRACE", "full")
    secrets = tmp_path / "secrets"
    secrets.write_text(json.dumps({"user": USER, "acl": DEFAULT_ACL, "bob": {"username": "bob", "password": OTHER}}))
    process = script(EVERYTHING, file=str(secrets), strict=strict)
    out = process.result(150) + process.stderr
    assert out.rstrip().splitlines()
    assert "the end" in out
    kinds = (
        "ArgumentError AuthFailed BadVersion Cancelled LimitMismatch NoAuth NodeExists NoNode ServerError Unreachable"
    )
    assert [kind for kind in [*kinds.split(), "RuntimeError"] if f"{kind}(" not in out] == []
    assert leaks(out) == []


def test_the_search_finds_what_is_there():
    assert leaks(f"x\nhas {PASSWORD}\nand\n{HASHES[1]}") == [f"has {PASSWORD}", HASHES[1]]


CONNECTION = {"session_timeout": LONG, "connect_timeout": 2}


@pytest.fixture
def profiles(hosts: str) -> dict[str, object]:
    """Settings with secrets in them: one that works, and one for each way that does not."""
    fine = {"hosts": hosts, **CONNECTION, **USER, "default_acl": DEFAULT_ACL}
    return {
        "fine": fine,
        "nobody": {**fine, "hosts": "127.0.0.1:1"},
        "bob": {**fine, "username": "bob", "password": OTHER},
        "half": {"hosts": hosts, "password": PASSWORD},
        "odd": {**fine, "default_acl": [{**USER, "read": PASSWORD}]},
    }


def salt_calls(path: str, profile: str) -> list[tuple[str, list[str]]]:
    on = f"profile={profile}"
    zk, node = "zk_concurrency", "zookeeper"
    return [
        (f"{zk}.lock", [path, "identifier=a", "timeout=2", on]),
        (f"{zk}.lock", [path, "identifier=a", "max_concurrency=7", "timeout=2", on]),
        (f"{zk}.lock", [path, "identifier=f", "force=True", "reason=because", on]),
        (f"{zk}.run", [path, "test.ping", "identifier=f", "timeout=2", on]),
        (f"{zk}.status", [path, on]),
        (f"{zk}.unlock", [path, "identifier=a", on]),
        (f"{node}.create", [f"{path}-z", "x", on]),
        (f"{node}.set", [f"{path}-z", "x", "version=7", on]),
        (f"{node}.set_acls", [f"{path}-z", "acls=creator_all", on]),
        (f"{node}.delete", [f"{path}-none", on]),
        ("state.apply", ["everything", f"pillar={json.dumps({'path': path, 'profile': profile})}"]),
    ]


STATES = """
{% set on = {'name': pillar['path'], 'profile': pillar['profile']} %}
held: {'zk_concurrency.held': [{{ on | tojson }}, {identifier: h, timeout: 1}]}
lock: {'zk_concurrency.lock': [{{ on | tojson }}, {identifier: s, timeout: 1}]}
unlock: {'zk_concurrency.unlock': [{{ on | tojson }}, {identifier: s}]}
party: {'zk_concurrency.min_party': [{{ on | tojson }}, {min_nodes: 0}]}
present: {'zookeeper.present': [{name: {{ pillar['path'] }}-s, value: x, profile: {{ pillar['profile'] }}}]}
absent: {'zookeeper.absent': [{name: {{ pillar['path'] }}-s, profile: {{ pillar['profile'] }}}]}
"""


@pytest.mark.parametrize("profile", ["fine", "bob", "nobody", "half", "odd"])
def test_salt_call_tells_no_secret_of_a_profile(root, profiles, profile, tmp_path):
    salt = Minionless(tmp_path / "salt", zookeeper=profiles, log_level_logfile="all")
    salt.state("everything", STATES)
    started = [
        salt.start(fun, *args, options=("--log-level=all",), env={"RUST_LOG": "trace"})
        for fun, args in salt_calls(f"{root}/{profile}", profile)
        if profile == "fine" or fun in {"zk_concurrency.lock", "zookeeper.create", "state.apply"}
    ]
    answers = [command.answer(150) for command in started]
    salt.end()
    assert all("[TRACE" in answer.stderr or "[DEBUG" in answer.stderr for answer in answers), "it was told much"
    for answer in answers:
        assert leaks(answer.stdout + answer.stderr) == []
    for path, text in salt.written().items():
        assert leaks(text) == [], path


@pytest.fixture(scope="module")
def fleet(ensemble: Ensemble, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExampleCluster]:
    """A master and a minion that log all they can, and the events of the master's bus."""
    empty = tmp_path_factory.mktemp("fleet")
    for directory in ("pillar", "states", "master.d"):
        (empty / directory).mkdir()
    (empty / "states/everything.sls").write_text(STATES)
    fine = {"hosts": ensemble.hosts, **CONNECTION, **USER, "default_acl": DEFAULT_ACL}
    site = {"zookeeper": {"fine": fine}, "log_level_logfile": "all"}
    fleet = ExampleCluster("3008", empty, {"m1": site}, site)
    try:
        fleet.start()
        fleet.record()
        yield fleet
    finally:
        fleet.stop()


def everything_written(fleet: ExampleCluster) -> dict[Path, str]:
    """Logs, job cache and the rest, but for the configuration, where the secrets are."""
    configuration = {"minion", "master", "zz-site.conf"}
    files = (path for path in fleet.directory.rglob("*") if path.is_file() and path.name not in configuration)
    return {path: path.read_bytes().decode("latin-1") for path in files}


def test_jobs_events_and_the_runner_tell_no_secret_of_a_profile(fleet, root):
    said = []
    started = [fleet.salt("m1", fun, *args) for fun, args in salt_calls(f"{root}/minion", "fine")]
    for fun in ("lock", "status", "doctor", "lock_holders", "unlock"):
        started.append(fleet.runner(f"zk_concurrency.{fun}", f"{root}/runner", profile="fine"))
    for command in started:
        answer = command.answer(150)
        said += [answer.stdout, answer.stderr]
    assert [event for event in fleet.events("zk_concurrency/") if "acquired" in str(event["tag"])], "the bus was heard"
    assert leaks("".join(said)) == []
    for path, text in everything_written(fleet).items():
        assert leaks(text) == [], path


def test_an_argument_is_known_to_salt_and_that_is_why_not_to_give_it(fleet, root):
    """What SECURITY.md says of command lines."""
    answer = fleet.salt("m1", "zookeeper.exists", root, username="ann", password="arg-3d2e").answer()
    assert "arg-3d2e" not in answer.stdout + answer.stderr
    kept = {
        str(path.relative_to(fleet.directory)) for path, text in everything_written(fleet).items() if "arg-3d2e" in text
    }
    print(sorted(kept))
    assert any("cache/salt/master/jobs" in path for path in kept), "the job cache"
    assert "events" in kept, "the event bus"
