"""The runner: the same functions for masters, a table at 3 a.m., and what the doctor says."""

from __future__ import annotations

import inspect
import json
import subprocess

import pytest
from zkcoord import znode

from tests.support.calls import Waiting
from tests.support.salt import closed_port

SHARED = (
    *("lock", "unlock", "lock_holders", "party_members", "status", "set_max", "pools", "remove_pool"),
    *("evict", "party_join", "party_leave"),
)
LOOK = ["zk_hosts", "profile", "scheme", "username", "password", "default_acl", "timeout"]
MASTER = "master_master"


@pytest.fixture
def present():
    """The minions that answer."""
    return {"web1"}


@pytest.fixture
def runner(monkeypatch, shim, config, hosts, present):
    """The runner in this process, on a master that has accepted `web1` and `web2`."""
    import salt.key
    from saltext.zkcoord.runners import zk_concurrency

    class Key:
        def __init__(self, opts):
            assert opts is zk_concurrency.__opts__

        def list_keys(self):
            return {"minions": ["web1", "web2"], "minions_pre": ["web3"], "minions_denied": [], "minions_rejected": []}

    def up(tgt, tgt_type, **_):
        assert tgt_type == "list"
        assert set(tgt) <= {"web1", "web2"}, "only those with a key are asked"
        return [minion for minion in tgt if minion in present]

    config["zookeeper:hosts"] = hosts
    functions = {"manage.up": up}
    opts = {"id": "the_master", "__role": "master", "zookeeper": {"hosts": hosts}}
    dunders = {"__salt__": functions, "__opts__": opts, "__context__": {}}
    for name, value in dunders.items():
        monkeypatch.setattr(zk_concurrency, name, value, raising=False)
    monkeypatch.setattr(salt.key, "get_key", Key)
    return zk_concurrency


class TestFunctions:
    @pytest.mark.parametrize("function", SHARED)
    def test_the_arguments_are_those_of_the_execution_module(self, runner, shim, function):
        assert inspect.signature(getattr(runner, function)) == inspect.signature(getattr(shim, function))

    def test_doctor_looks_where_status_does(self, runner):
        assert list(inspect.signature(runner.doctor).parameters)[1:8] == LOOK

    def test_salt_finds_them_and_nothing_else(self, runner):
        own = inspect.getmembers(runner, lambda it: inspect.isfunction(it) and it.__module__ == runner.__name__)
        assert [name for name, _ in own if not name.startswith("_")] == sorted([*SHARED, "doctor", "metrics"])
        assert runner.__virtual__() == "zk_concurrency"

    def test_a_slot_is_taken_for_the_master_shown_and_given_back(self, runner, root, pool):
        assert runner.lock(root, timeout=5) is True
        assert runner.lock_holders(root) == ["the_master"] == pool.holders()
        assert runner.set_max(root, 2)["new"] == 2
        assert runner.lock(root, identifier="web1", max_concurrency=2)
        assert [holder["identifier"] for holder in runner.status(root)["holders"]] == ["the_master", "web1"]
        assert runner.unlock(root, identifier="web1") is True
        assert runner.unlock(root, identifier="") is True
        assert pool.holders() == []

    def test_what_was_not_had_is_a_failure_for_orchestrations(self, runner, root):
        assert runner.lock(root)
        assert runner.__context__ == {"retcode": 0}
        assert runner.lock(root, identifier="b", timeout=0) is False
        assert runner.__context__ == {"retcode": 1}
        assert runner.unlock(root)
        assert runner.__context__ == {"retcode": 0}
        assert runner.unlock(root) is False
        assert runner.__context__ == {"retcode": 1}

    def test_members_are_counted_and_waited_for(self, runner, root, zk):
        assert runner.party_members(root, min_nodes=1, blocking=True, timeout=0) == []
        zk.ShallowParty(root, "a").join()
        assert runner.party_members(root, min_nodes=1, blocking=True, timeout=5) == ["a"]
        for member in zk.get_children(root):
            zk.delete(f"{root}/{member}")

    @pytest.mark.parametrize(
        ("function", "arguments"),
        [
            *((name, {}) for name in SHARED if name not in {"set_max", "evict"}),
            ("evict", {"identifier": "a", "reason": "r"}),
            ("set_max", {"max_concurrency": 2}),
            ("doctor", {}),
            ("doctor", {"below": True}),
        ],
    )
    def test_every_error_is_one_line_and_not_a_traceback(self, runner, root, function, arguments):
        from salt.exceptions import CommandExecutionError, NotImplemented

        with closed_port() as address, pytest.raises(CommandExecutionError, match=f"tried {address}") as caught:
            getattr(runner, function)(root, zk_hosts=address, timeout=0.2, **arguments)
        assert "\n" not in str(caught.value)
        assert isinstance(caught.value, NotImplemented), "Salt shows the traceback of all others"
        with pytest.raises(NotImplemented, match=r"^path: "):
            getattr(runner, function)("/a/../b", **arguments)

    def test_salt_run_is_told_how_to_show_an_answer_and_nobody_else_is(self, runner, root):
        answer = runner.status(root)
        assert answer["path"] == root
        runner.__opts__["fun"] = "state.orchestrate"
        assert runner.status(root) == answer
        runner.__opts__["fun"] = "zk_concurrency.status"
        shown = runner.status(root)
        assert (shown["outputter"], list(shown["data"])) == ("zk_concurrency", [root])
        assert isinstance(shown["data"][root].pop("neighbours"), list), "the pools of other tests"
        assert shown["data"][root] == answer
        assert "outputter" not in runner.doctor(root)
        runner.__opts__["output"] = "json"
        assert runner.status(root) == answer


class TestDoctor:
    @pytest.fixture
    def findings(self, runner, root):
        """What it finds, as (what, do)."""

        def findings(**arguments):
            report = runner.doctor(root, **arguments)
            assert report["path"] == root
            assert all(sorted(finding) == ["do", "what"] for finding in report["findings"])
            return [(finding["what"], finding["do"]) for finding in report["findings"]]

        return findings

    def test_a_healthy_pool_has_no_findings(self, runner, findings, shim, hosts, root):
        for name in ("web1", "the_master"):
            shim.lock(root, hosts, identifier=name, max_concurrency=2)
        waiting = Waiting(shim.lock, root, hosts, identifier="web2", max_concurrency=2, timeout=30)
        assert findings() == findings(max_concurrency=2) == findings(max_concurrency="2") == []
        shim.unlock(root, hosts, identifier="web1")
        assert waiting.result()

    def test_holders_that_are_no_minions_or_do_not_answer(self, findings, shim, hosts, root, zk):
        for name in ("web1", "web2", "web3", "not; a minion"):
            shim.lock(root, hosts, identifier=name, max_concurrency=4, ephemeral_lease=name == "web2")
        before = zk.get_children(root)
        silent, unaccepted, foreign = findings()
        assert silent[0].startswith("web2 holds a slot since 20")
        assert "and does not answer. It also ends with its session 0x" in silent[0]
        assert unaccepted[0].startswith("web3 holds a slot since 20")
        assert unaccepted[0].endswith(", and is no accepted minion of this master.")
        assert unaccepted[1] == (
            "Once you are sure that it is not acting any more: "
            f"salt-run zk_concurrency.unlock {root} identifier=web3 reason='...'"
        )
        assert f"{root} identifier='not; a minion' reason=" in foreign[1], "the command is safe to paste"
        assert zk.get_children(root) == before

    def test_the_commands_name_the_ensemble_but_no_secret(self, runner, findings, shim, hosts, root):
        runner.__opts__["zookeeper"]["blue"] = {"hosts": hosts}
        shim.lock(root, hosts, identifier="x")
        given = {"profile": "blue", "zk_hosts": hosts.split(","), "username": "u", "password": "s3cret"}
        ((_, do),) = findings(**given, use_ssl=False)
        who = "profile=blue username=u password=... use_ssl=False"
        assert do.endswith(f" reason='...' zk_hosts={hosts} {who}")
        znode.set(root, b"no number", zk_hosts=hosts)
        ((_, first), (_, second)) = findings(**given, use_ssl=False)
        assert first == do
        assert second.endswith(f": salt-call zookeeper.set {root} N hosts={hosts} {who}"), "it has another name there"

    def test_minions_that_cannot_be_asked(self, runner, findings, shim, hosts, root):
        from salt.exceptions import SaltClientError

        def up(**_):
            raise SaltClientError("no master here")

        runner.__salt__["manage.up"] = up
        shim.lock(root, hosts, identifier="web1")
        ((what, do),) = findings()
        assert what == "The minions could not be asked whether they are there: no master here"
        assert do == "Does salt-master run on this host?"

    def test_waiters_that_wait_for_too_long(self, findings, shim, hosts, root, pool, wait_until):
        shim.lock(root, hosts, identifier="web1")
        waiting = Waiting(shim.lock, root, hosts, identifier="web2", timeout=30)
        wait_until(pool.waiters, "web2 waits")
        try:
            assert findings() == findings(max_wait="60") == []
            ((what, do),) = findings(max_wait=0)
            assert what.startswith("web2 waits since 20")
            assert what.endswith(", in position 1.")
            assert "the servers remove its queue node when session 0x" in do
        finally:
            shim.unlock(root, hosts, identifier="web1")
            waiting.result()

    def test_children_that_are_no_leases(self, findings, shim, hosts, root, zk):
        shim.set_max(root, 9, hosts)
        zk.create(f"{root}/notes", b"web1")
        zk.create(f"{root}/{'0' * 32}", b"")
        (nameless, named) = sorted(findings())
        assert nameless[0].startswith(f"The child {'0' * 32} takes a slot since 20")
        assert nameless[0].endswith(", and has no identifier.")
        assert named[0].startswith("The child notes takes a slot since 20")
        assert named[1].endswith(f"salt-call zookeeper.delete {root}/notes")

    def test_more_holders_than_slots(self, findings, shim, hosts, root):
        for name in ("web1", "the_master"):
            shim.lock(root, hosts, identifier=name, force=True)
        ((what, _),) = findings()
        assert what == "2 hold a slot, and it has 1."

    def test_who_holds_two_slots(self, findings, hosts, root, zk):
        zk.create(root, b"2")
        for number in range(2):
            zk.create(f"{root}/{number:032x}", b"web1")
        ((what, do),) = findings()
        assert what == "web1 holds 2 slots."
        assert do.endswith(f" All are freed by: salt-run zk_concurrency.unlock {root} identifier=web1 reason='...'")

    def test_another_number_of_slots_than_expected(self, findings, shim, hosts, root):
        shim.set_max(root, 3, hosts)
        ((what, do),) = findings(max_concurrency=2)
        assert what == "It stores max_concurrency 3, not 2: whoever asks for 2 is refused."
        assert do == f"Ask for 3 everywhere, or: salt-run zk_concurrency.set_max {root} 2"

    def test_no_number_other_data_and_no_pool(self, findings, root, zk):
        assert [what for what, _ in findings()] == ["There is no such pool."]
        zk.create(root, b"")
        assert findings() == [
            ("It stores no limit: the next to lock decides.", f"salt-run zk_concurrency.set_max {root} N")
        ]
        zk.set(root, b"not a number")
        ((what, do),) = findings()
        assert what == "Its data is no number, so nothing limits the slots."
        assert do.endswith(f"salt-call zookeeper.set {root} N")

    @pytest.mark.parametrize("name", ["max_wait", "max_concurrency"])
    def test_a_limit_that_is_no_number_is_refused(self, runner, root, name):
        from salt.exceptions import NotImplemented

        with pytest.raises(NotImplemented, match=f"^{name}: must be a number$"):
            runner.doctor(root, **{name: "many"})


class TestOutput:
    @pytest.fixture
    def show(self, monkeypatch, tmp_path, shim):
        from saltext.zkcoord.output import zk_concurrency

        opts = {"extension_modules": str(tmp_path), "optimization_order": [0], "color": False}
        # What somebody has who says --out=zk_concurrency.
        monkeypatch.setattr(zk_concurrency, "__opts__", {**opts, "output": "zk_concurrency"}, raising=False)
        assert zk_concurrency.__virtual__() == "zk_concurrency"
        return zk_concurrency.output

    @pytest.fixture
    def status(self):
        since, pool = "2026-11-20T16:30:00Z", {"path": "/restart/web", "max_concurrency": 2, "free": 0}
        ages = {"web3": 7503.2, "web7.example.com": 42}
        holders = [{"identifier": who, "since": since, "age": age, "ephemeral": age < 60} for who, age in ages.items()]
        waiters = [{"identifier": "web1", "position": 1, "since": since, "age": 0.2}]
        return {**pool, "holders": holders, "waiters": waiters}

    TABLE = """\
/restart/web: 2 slots, 0 free, 2 held, 1 waiting
    | Holder           | For       | Since                | Lease      |
    --------------------------------------------------------------------
    | web3             | 2 h 5 min | 2026-11-20T16:30:00Z | persistent |
    | web7.example.com | 42 s      | 2026-11-20T16:30:00Z | ephemeral  |
    | Position | Waiter | For | Since                |
    --------------------------------------------------
    | 1        | web1   | 0 s | 2026-11-20T16:30:00Z |"""

    def test_a_pool_is_a_table(self, show, status):
        assert show(status) == show({"/restart/web": status}) == self.TABLE

    def test_what_several_minions_say_is_below_their_names(self, show, status):
        assert show({"web1": status, "web2": "ERROR: no"}) == f"web1:\n{self.TABLE}\nweb2:\n    ERROR: no"

    @pytest.mark.parametrize(
        ("limit", "free", "line"),
        [(1, 1, "1 slot, 1 free"), (None, None, "no limit is stored"), (3, 3, "3 slots, 3 free")],
    )
    def test_an_empty_pool_is_a_line(self, show, limit, free, line):
        pool = {"path": "/a", "max_concurrency": limit, "free": free, "holders": [], "waiters": []}
        assert show(pool) == f"/a: {line}, 0 held, 0 waiting"

    def test_a_path_without_a_pool_is_a_line_with_the_pools_beside_it(self, show):
        pool = {"path": "/a", "max_concurrency": None, "free": None, "holders": [], "waiters": []}
        assert show({**pool, "neighbours": []}) == "no pool at /a"
        assert show({**pool, "neighbours": ["/b", "/c\x1b"]}) == "no pool at /a; pools beside it: /b, /c\\x1b"
        many = [f"/{number}" for number in range(11)]
        assert show({**pool, "neighbours": many}).endswith(", /9, ...")

    def test_findings_are_numbered_and_none_is_said_so(self, show):
        findings = [{"what": "It is odd.", "do": "Look."}, {"what": "So is this.", "do": "Wait."}]
        expected = "/a: 2 findings\n   1. It is odd.\n      Look.\n   2. So is this.\n      Wait."
        assert show({"path": "/a", "findings": findings}) == expected
        assert show({"path": "/a", "findings": []}) == "/a: nothing to complain about"

    def test_pools_are_a_table(self, show):
        pools = [
            {"path": "/restart/web", "max_concurrency": 2, "held": 1, "waiting": 0},
            {"path": "/x\x1b", "max_concurrency": None, "held": None, "waiting": None},
        ]
        expected = """\
    | Pool         | Held | Slots    | Waiting |
    --------------------------------------------
    | /restart/web | 1    | 2        | 0       |
    | /x\\x1b       | ?    | no limit | ?       |"""
        assert show(pools) == show({"/": {"path": "/", "pools": pools}}) == expected
        assert show({"web1": pools}) == f"web1:\n{expected}"
        assert show({"/": {"path": "/", "pools": []}}) == "no pools"
        assert show({"pools": {"path": "pools", "pools": []}}) == "no pools"

    def test_anything_else_is_shown_as_ever(self, show):
        assert show("no ZooKeeper server answered") == "no ZooKeeper server answered"


class TestOnTheMaster:
    @pytest.fixture
    def salt_run(self, fleet):
        """Run a command as one types it: the exit code and what it prints."""

        def salt_run(function, *arguments):
            command = [fleet._bin_dir / "salt-run", "-c", fleet.directory / "master", "-l", "quiet"]
            done = subprocess.run(
                [*command, f"zk_concurrency.{function}", *arguments],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            return done.returncode, done.stdout.rstrip("\n")

        return salt_run

    def test_masters_coordinate(self, salt_run, root, pool):
        assert salt_run("lock", root, "timeout=20") == (0, "True")
        assert pool.holders() == [MASTER]
        assert salt_run("lock", root, "identifier=other_master", "timeout=0.1") == (0, "False")
        assert salt_run("unlock", root) == (0, "True")
        assert pool.holders() == []

    def test_status_is_a_table_to_read_and_a_dict_for_programs(self, salt_run, shim, root, hosts):
        shim.lock(root, hosts, identifier="m1", max_concurrency=2)
        code, table = salt_run("status", root)
        assert code == 0
        title, heading, _, holder = table.splitlines()
        assert title == f"{root}: 2 slots, 1 free, 1 held, 0 waiting"
        assert heading.split("|")[1].strip() == "Holder"
        assert holder.split("|")[1].strip() == "m1"
        code, text = salt_run("status", root, "--out=json")
        status = json.loads(text)
        assert (code, status["path"], status["holders"][0]["identifier"]) == (0, root, "m1")

    def test_the_doctor_asks_for_keys_and_answers(self, salt_run, shim, root, hosts, pool):
        for name in ("m1", "gone", "stranger"):
            shim.lock(root, hosts, identifier=name, max_concurrency=3)
        code, text = salt_run("doctor", root, "ping_timeout=1", "--out=json")
        assert code == 0
        gone, stranger = (finding["what"] for finding in json.loads(text)["findings"])
        assert gone.startswith("gone ")
        assert gone.endswith("and does not answer.")
        assert stranger.startswith("stranger ")
        assert stranger.endswith("is no accepted minion of this master.")
        assert sorted(pool.holders()) == ["gone", "m1", "stranger"]

    def test_an_error_is_one_line_and_the_exit_code_is_1(self, salt_run, root):
        with closed_port() as address:
            code, text = salt_run("status", root, address, "timeout=0.5")
        assert (code, len(text.splitlines())) == (1, 1)
        assert text.startswith("no ZooKeeper server answered within 0.")

    def test_orchestrations_see_what_failed_and_get_the_dict(self, fleet, shim, root, hosts):
        shim.lock(root, hosts, identifier="m1")

        def call(function, *more):
            return {"salt.runner": [{"name": f"zk_concurrency.{function}"}, {"path": root}, *more]}

        fleet.state(
            "orch",
            {
                "look": call("status"),
                "no slot": call("lock", {"timeout": 0.1}),
                "wrong": call("set_max", {"max_concurrency": 0}),
                "free": call("unlock", {"identifier": "m1"}),
            },
        )
        answer = fleet.runner("state.orchestrate", "orch").answer()
        assert answer.code == 1, answer
        (states,) = json.loads(answer.stdout)["data"].values()
        found = {state["__id__"]: (state["result"], state["changes"]["return"]) for state in states.values()}
        assert found["look"][0] is True
        assert found["look"][1]["holders"][0]["identifier"] == "m1"
        assert found["no slot"] == (False, False)
        assert found["wrong"][0] is False
        assert found["wrong"][1].startswith("max_concurrency: must be a whole number")
        assert found["free"] == (True, True)

    def test_held_in_an_orchestration_ends_with_it(self, fleet, root, pool):
        slot = {"zk_concurrency.held": [{"name": root}, {"timeout": 20}]}
        look = {"salt.runner": [{"name": "zk_concurrency.lock_holders"}, {"path": root}]}
        fleet.state("orch", {"slot": slot, "look": look, "fail": {"test.fail_without_changes": []}})
        answer = fleet.runner("state.orchestrate", "orch").answer()
        assert answer.code == 1, answer
        (states,) = json.loads(answer.stdout)["data"].values()
        changes = {state["__id__"]: state["changes"] for state in states.values()}
        assert changes["look"] == {"return": [MASTER]}
        assert pool.leases() == []
