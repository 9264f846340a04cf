"""The states: what they answer, on the real ensemble. The life of a held slot is in test_salt_held.py."""

from __future__ import annotations

import inspect

import pytest

from tests.support.calls import Waiting
from tests.support.salt import LONG, VERSIONS, closed_port

# The parameters of Salt's own states, in their order, and what we add.
STOCK = {
    "lock": (
        "(name, zk_hosts=None, identifier=None, max_concurrency=1, timeout=None, ephemeral_lease=False, "
        "profile=None, scheme=None, username=None, password=None, default_acl=None)"
    ),
    "unlock": (
        "(name, zk_hosts=None, identifier=None, max_concurrency=1, ephemeral_lease=False, "
        "profile=None, scheme=None, username=None, password=None, default_acl=None)"
    ),
    "min_party": (
        "(name, zk_hosts, min_nodes, blocking=False, "
        "profile=None, scheme=None, username=None, password=None, default_acl=None)"
    ),
}
ADDED = {"lock": ["reason", "security"], "unlock": ["security"], "min_party": ["timeout", "security"]}


@pytest.fixture
def dry(states):
    """The same, with `test=True`."""
    states.__opts__["test"] = True
    return states


class TestDropIn:
    @pytest.mark.parametrize("function", STOCK)
    def test_the_parameters_are_those_of_salts_own_and_what_is_added_comes_last(self, states, function):
        signature = inspect.signature(getattr(states, function))
        parameters = list(signature.parameters.values())
        count = len(parameters) - len(ADDED[function])
        assert str(signature.replace(parameters=parameters[:count])) == STOCK[function]
        assert [parameter.name for parameter in parameters[count:]] == ADDED[function]

    @pytest.mark.parametrize("test", [True, False])
    def test_where_salts_own_tests_pin_an_answer_it_is_that(self, states, test):
        # They know of one function at a time, and of no minion id.
        states.__opts__["test"] = test
        states.__grains__.clear()
        answers = {
            "lock": (["salt", "dude", "stack"], True, "Attempt to acquire lock", "lock acquired"),
            "unlock": (["salt"], True, "Released lock if it is here", ""),
            "min_party": (["salt", "dude", 2], ["1", "2", "3"], "Attempt to ensure min_party", ">= 2"),
        }
        for function, (arguments, answer, attempt, done) in answers.items():
            module = "party_members" if function == "min_party" else function
            states.__salt__.clear()
            if not test:
                states.__salt__[f"zk_concurrency.{module}"] = lambda *_, answer=answer, **__: answer
            ret = getattr(states, function)(*arguments)
            assert ret["result"] is (None if test else True)
            assert ret["comment"] == attempt if test else ret["comment"].endswith(done)

    def test_without_our_execution_module_it_is_not_available_and_says_why(self, states):
        assert states.__virtual__() == "zk_concurrency"
        del states.__salt__["zk_concurrency.status"]  # as it is with saltext.zookeeper's
        assert states.__virtual__() == (
            False,
            "the zk_concurrency execution module that is loaded has no status",
        )


class TestLock:
    def test_it_is_taken_for_the_minion_by_its_id_and_again_at_once(self, states, root, pool, outcome):
        assert outcome(states.lock(root)) == (True, "lock acquired")
        assert outcome(states.lock(root, identifier="", timeout=0)) == (True, "lock acquired")
        assert pool.holders() == ["probe"]

    def test_when_the_time_ran_out_it_fails_and_names_the_holders(self, states, root, shim, outcome):
        for name in "ba":
            shim.lock(root, identifier=name, max_concurrency=2)
        expected = "Unable to acquire lock within 0.2 s, held by a, b"
        assert outcome(states.lock(root, max_concurrency=2, timeout=0.2)) == (False, expected)

    def test_when_the_holders_cannot_be_told_it_fails_with_what_is_known(
        self, states, root, shim, outcome, execution_error
    ):
        def lock_holders(*_args, **_kwargs):
            raise execution_error("not permitted")

        shim.lock(root, identifier="a")
        states.__salt__["zk_concurrency.lock_holders"] = lock_holders
        expected = "Unable to acquire lock within 0 s, and who holds one cannot be told: not permitted"
        assert outcome(states.lock(root, timeout=0)) == (False, expected)
        states.__salt__["zk_concurrency.lock_holders"] = lambda *_, **__: []
        expected = "Unable to acquire lock within 0 s, though nobody holds one now"
        assert outcome(states.lock(root, timeout=0)) == (False, expected)

    def test_ephemeral_leases_are_that(self, states, root, shim):
        assert states.lock(root, ephemeral_lease=True)["result"]
        assert [holder["ephemeral"] for holder in shim.status(root)["holders"]] == [True]


class TestUnlock:
    def test_a_slot_is_given_back_and_to_have_none_is_success(self, states, root, shim, pool, outcome):
        states.lock(root)
        assert outcome(states.unlock(root)) == (True, "")
        assert pool.holders() == []
        assert outcome(states.unlock(root)) == (True, f"Unable to find lease for path {root}")

    def test_it_leaves_others_alone(self, states, root, shim, pool):
        shim.lock(root, identifier="a")
        assert states.unlock(root)["result"]
        assert pool.holders() == ["a"]
        states.unlock(root, identifier="a")
        assert pool.holders() == []


class TestErrors:
    """Each is a failed state with one line, also with `test=True`."""

    CALLS = (("lock", {}), ("unlock", {}), ("held", {}), ("min_party", {"min_nodes": 1}))

    @pytest.mark.parametrize("test", [False, True])
    @pytest.mark.parametrize(("function", "arguments"), CALLS)
    def test_servers_out_of_reach(self, states, config, root, outcome, function, arguments, test):
        states.__opts__["test"] = test
        config["zookeeper:connect_timeout"] = 0.2
        with closed_port() as address:
            result, comment = outcome(getattr(states, function)(root, address, **arguments))
        assert result is False
        assert comment.startswith("no ZooKeeper server answered within 0.")
        assert address in comment
        assert "\n" not in comment

    @pytest.mark.parametrize(("function", "arguments"), CALLS)
    def test_a_wrong_argument(self, states, hosts, function, arguments):
        ret = getattr(states, function)("/a/../b", hosts, **arguments)
        assert ret["result"] is False
        assert ret["comment"].startswith("path: ")

    @pytest.mark.parametrize("test", [False, True])
    def test_another_limit(self, states, root, shim, outcome, test):
        states.__opts__["test"] = test
        shim.lock(root, identifier="a", max_concurrency=3)
        result, comment = outcome(states.lock(root, max_concurrency=2))
        assert result is False
        assert comment.startswith(f"{root} is a pool of max_concurrency 3, but 2 was asked for")


class TestDryRun:
    @pytest.mark.parametrize("function", ["lock", "held"])
    def test_it_says_held_already_or_free_or_behind_how_many(
        self, dry, root, shim, outcome, pool, zk, wait_until, function
    ):
        look = getattr(dry, function)
        assert outcome(look(root)) == (None, "Attempt to acquire lock: free")
        assert zk.exists(root) is None
        shim.lock(root, identifier="probe")
        assert outcome(look(root)) == (True, "Attempt to acquire lock: already held")
        assert outcome(look(root, identifier="b")) == (
            None,
            "Attempt to acquire lock: queued behind 0, held by probe",
        )
        waiting = Waiting(shim.lock, root, identifier="a", timeout=30)
        wait_until(pool.waiters, "a waits")
        try:
            expected = (None, "Attempt to acquire lock: queued behind 1, held by probe")
            assert outcome(look(root, identifier=5)) == expected
        finally:
            shim.unlock(root, identifier="probe")
            assert waiting.result()
        assert pool.holders() == ["a"]

    def test_a_slot_beside_the_waiters_is_free(self, dry, root, shim, outcome):
        shim.lock(root, identifier="a", max_concurrency="2")
        assert outcome(dry.lock(root, max_concurrency="2")) == (None, "Attempt to acquire lock: free")

    def test_unlock_says_whether_there_is_something_to_release(self, dry, root, shim, outcome, pool):
        assert outcome(dry.unlock(root)) == (True, "Released lock if it is here: it is not")
        shim.lock(root, identifier="probe")
        assert outcome(dry.unlock(root)) == (None, "Released lock if it is here: it is")
        assert pool.holders() == ["probe"]

    def test_min_party_counts_and_does_not_wait(self, dry, root, hosts, outcome):
        expected = (None, "Attempt to ensure min_party: Currently 0 nodes, which is < 1")
        assert outcome(dry.min_party(root, hosts, 1, blocking=True)) == expected
        assert outcome(dry.min_party(root, hosts, 0, blocking=True)) == (True, "Currently 0 nodes, which is >= 0")


class TestRuns:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_lock_unlock_and_min_party(self, minionless, version, root, hosts):
        salt = minionless(version, zookeeper={"hosts": hosts, "session_timeout": LONG})
        other = {"identifier": "other"}
        party = [{"zk_hosts": hosts}, {"min_nodes": 1}, {"blocking": True}, {"timeout": 0.1}]
        salt.state(
            "it",
            {
                "take": {"zk_concurrency.lock": [{"name": root}, {"timeout": 20}]},
                "again": {"zk_concurrency.lock": [{"name": root}, other, {"timeout": 0.1}]},
                "give": {"zk_concurrency.unlock": [{"name": root}]},
                "nothing": {"zk_concurrency.unlock": [{"name": root}]},
                "party": {"zk_concurrency.min_party": [{"name": root}, *party]},
            },
        )
        answer = salt.salt_call("state.apply", "it", options=("--retcode-passthrough", "-l", "critical"))
        assert answer.code == 2, answer
        found = {state["__id__"]: (state["result"], state["comment"]) for state in answer.value.values()}
        assert found == {
            "take": (True, "lock acquired"),
            "again": (False, "Unable to acquire lock within 0.1 s, held by probe"),
            "give": (True, ""),
            "nothing": (True, f"Unable to find lease for path {root}"),
            "party": (False, "Currently 0 nodes, which is < 1"),
        }
        assert all(state["changes"] == {} and "warnings" not in state for state in answer.value.values())


class TestHeld:
    def test_a_slot_that_cannot_be_given_back_is_one_line_in_the_log(self, states, caplog, execution_error):
        class Slot:
            def give_back(self, timeout):
                raise execution_error("no server answered")

        states._Held("probe at /a", None, Slot())()
        (record,) = (it for it in caplog.records if it.name == states.__name__)
        assert record.getMessage() == (
            "Could not give back the slot of probe at /a at the end of the run: no server answered"
        )
        assert record.exc_info is None
