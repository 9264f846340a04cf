"""The states `zk_lease.held` and `released`, in real state runs."""

import re
import signal
import time

import pytest
from zkcoord import lease

from tests.support.calls import wait_until
from tests.support.salt import VERSIONS


def states(path, command, **held):
    return {
        "a lease": {
            "zk_lease.held": [{"name": path}, {"timeout": 30}, *({name: value} for name, value in held.items())]
        },
        "work": {"cmd.run": [{"name": command}, {"require": [{"zk_lease": "a lease"}]}]},
    }


def results(answer):
    return {tag.split("_|-")[1]: state["result"] for tag, state in answer.value.items()}


@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_held_and_renewed_while_the_run_goes_on_and_given_back_at_its_end(minionless, hosts, path, version):
    salt = minionless(version, zookeeper={"hosts": hosts})
    salt.state("work", states(path, "sleep 4", duration="2s"))
    run = salt.start("state.apply", "work")
    wait_until(lambda: lease.status(path, hosts)["holder"], "it is held", 30)
    token = lease.status(path, hosts)["holder"]["fencing_token"]
    assert lease.take(path, "other", hosts, timeout=3) is None, "it is renewed"
    answer = run.answer()
    assert results(answer) == {"a lease": True, "work": True}
    assert next(it for it in answer.value.values() if it["__id__"] == "a lease")["comment"] == (
        f"lease held, fencing token {token}"
    )
    assert lease.status(path, hosts)["holder"] is None


def test_a_run_that_fails_gives_it_back_unless_told_to_keep_it(salt, hosts, path):
    salt.state("fails", states(path, "false", duration="60s"))
    assert results(salt.salt_call("state.apply", "fails")) == {"a lease": True, "work": False}
    assert lease.status(path, hosts)["holder"] is None
    salt.state("keeps", states(path, "false", duration="60s", keep_on_failure=True))
    assert results(salt.salt_call("state.apply", "keeps")) == {"a lease": True, "work": False}
    assert lease.status(path, hosts)["holder"]["owner"] == "probe"
    assert lease.take(path, "other", hosts, timeout=0) is None
    salt.state("gives", {"give it back": {"zk_lease.released": [{"name": path}]}})
    assert results(salt.salt_call("state.apply", "gives")) == {"give it back": True}
    assert lease.status(path, hosts)["holder"] is None


def test_a_run_that_is_killed_holds_it_for_the_duration_and_no_longer(minionless, hosts, path):
    salt = minionless(zookeeper={"hosts": hosts, "session_timeout": 1})
    salt.state("work", states(path, "sleep 8", duration="3s"))
    run = salt.start("state.apply", "work")
    wait_until(lambda: lease.status(path, hosts)["holder"], "it is held", 30)
    run.signal(signal.SIGKILL)
    began = time.monotonic()
    taken = lease.take(path, "other", hosts, timeout=30)
    assert taken.taken_from == "probe"
    assert time.monotonic() - began < 3 + 2.5
    run.answer()


def test_a_run_that_is_terminated_ends_its_work_first(salt, hosts, path):
    salt.state("work", states(path, "sleep 60", duration="30s"))
    run = salt.start("state.apply", "work")
    wait_until(lambda: lease.status(path, hosts)["holder"], "it is held", 30)
    time.sleep(1)
    run.signal(signal.SIGTERM)
    run.answer(30)
    wait_until(lambda: lease.status(path, hosts)["holder"] is None, "it is given back")


def test_a_lease_that_is_lost_ends_the_work(salt, hosts, path):
    salt.state("work", states(path, "sleep 60", duration="30s"))
    run = salt.start("state.apply", "work")
    wait_until(lambda: lease.status(path, hosts)["holder"], "it is held", 30)
    time.sleep(1.5)
    assert lease.give_back(path, None, hosts) == "probe"
    answer = run.answer(40)
    assert results(answer) == {"a lease": True, "work": False}
    assert "Lost the lease of probe" in answer.stderr


def test_nothing_begins_under_a_lease_that_was_lost(salt, hosts, path, tmp_path):
    begun = tmp_path / "begun"
    again = {"zk_lease.held": [{"name": path}, {"order": "last"}]}
    work = states(path, "sleep 60", duration="30s")
    later = {"cmd.run": [{"name": f"touch {begun}"}, {"require": [{"zk_lease": "a lease"}]}, {"order": "last"}]}
    salt.state("work", {**work, "later": later, "again": again})
    run = salt.start("state.apply", "work")
    wait_until(lambda: lease.status(path, hosts)["holder"], "it is held", 30)
    time.sleep(1.5)
    assert lease.give_back(path, None, hosts) == "probe"
    answer = run.answer(40)
    assert results(answer) == {"a lease": True, "work": False, "later": False, "again": False}
    (comment,) = (state["comment"] for tag, state in answer.value.items() if tag.startswith("cmd_|-later"))
    assert comment == f"not run: the lease {path} was lost\n"
    assert not begun.exists()


def test_a_run_of_states_under_a_lease_that_was_lost_ends_with_that(salt, hosts, path, tmp_path):
    begun = tmp_path / "begun"
    salt.state(
        "work",
        {"first": {"cmd.run": [{"name": "sleep 60"}]}, "second": {"cmd.run": [{"name": f"touch {begun}"}]}},
    )
    run = salt.start("zk_lease.run", path, "state.apply", "work")
    wait_until(lambda: lease.status(path, hosts)["holder"], "it is held", 30)
    time.sleep(3)
    assert lease.give_back(path, None, hosts) == "probe"
    answer = run.answer(40)
    assert answer.code != 0
    assert f"probe lost the lease {path} while state.apply ran" in answer.stderr
    assert not begun.exists()


def test_a_lease_is_one_however_its_name_is_written(salt, hosts, path):
    name = path.rsplit("/", 1)
    salt.state(
        "twice",
        {
            "first": {"zk_lease.held": [{"name": path}, {"timeout": 10}]},
            "second": {"zk_lease.held": [{"name": f"{name[0]}/{name[1].upper()}/"}, {"timeout": 2}]},
            "back": {"zk_lease.released": [{"name": f"{name[0]}/{name[1].title()}"}, {"order": "last"}]},
        },
    )
    answer = salt.salt_call("state.apply", "twice")
    assert results(answer) == {"first": True, "second": True, "back": True}
    assert "lost the lease" not in answer.stderr.lower()
    assert lease.status(path, hosts)["holder"] is None


def test_in_a_test_run_it_is_foretold(salt, hosts, path):
    salt.state("work", states(path, "true"))

    def comment():
        answer = salt.salt_call("state.apply", "work", test=True)
        state = next(it for it in answer.value.values() if it["__id__"] == "a lease")
        return state["result"], state["comment"]

    assert comment() == (None, "take the lease: free")
    lease.take(path, "other", hosts, lease_duration=1000)
    result, text = comment()
    assert result is None
    assert re.search(r"take the lease: held by other for (1000|9\d\d) s", text)
    assert lease.status(path, hosts)["holder"]["owner"] == "other"


def test_no_lease_in_time_fails_in_one_line(salt, hosts, path):
    lease.take(path, "other", hosts, lease_duration=1000)
    salt.state("work", states(path, "true", timeout=0))
    answer = salt.salt_call("state.apply", "work")
    assert results(answer) == {"a lease": False, "work": False}
    state = next(it for it in answer.value.values() if it["__id__"] == "a lease")
    assert re.match(r"no lease within 0 s, held by other for (1000|9\d\d) s", state["comment"])
