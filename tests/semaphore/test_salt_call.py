"""What an operator sees who types `salt-call --local zk_concurrency...`."""

from __future__ import annotations

import re
import signal
import time

import pytest

from tests.support.salt import LONG, closed_port

LOCK = "zk_concurrency.lock"
UNLOCK = "zk_concurrency.unlock"
HOLDERS = "zk_concurrency.lock_holders"
MEMBERS = "zk_concurrency.party_members"

SECRET = "c0rrect-h0rse"


def test_a_slot_is_taken_shown_refused_to_others_and_given_back_once(salt, root, hosts):
    assert salt.salt_call(LOCK, root, hosts, identifier="a").outcome == (0, True)
    holders = salt.start(HOLDERS, root, hosts)
    other = salt.start(LOCK, root, hosts, identifier="b", timeout=1)
    assert holders.answer().outcome == (0, ["a"])
    assert other.answer().outcome == (1, False)
    assert salt.salt_call(UNLOCK, root, hosts, identifier="a").outcome == (0, True)
    assert salt.salt_call(UNLOCK, root, hosts, identifier="a").outcome == (1, False)


def test_the_hosts_come_from_the_configuration_or_from_a_profile_in_it(salt, root):
    assert salt.salt_call(LOCK, root, identifier="a").outcome == (0, True)
    assert salt.salt_call(HOLDERS, root, profile="blue").outcome == (0, ["a"])


class TestArgumentsAsYaml:
    def test_a_number_is_an_identifier_in_text(self, salt, root):
        assert salt.salt_call(LOCK, root, identifier="5").outcome == (0, True)
        holders, again = salt.start(HOLDERS, root), salt.start(LOCK, root, identifier="'5'", timeout="0")
        assert holders.answer().outcome == (0, ["5"])
        assert again.answer().outcome == (0, True)

    def test_timeouts_are_whole_fractional_or_text(self, salt, root, zk):
        zk.create(f"{root}/somebody", makepath=True)
        calls = [salt.start(LOCK, root, identifier="a", timeout=text) for text in ("0", "0.5", "'1'")]
        assert [call.answer().outcome for call in calls] == [(1, False)] * 3

    def test_no_timeout_waits_until_there_is_a_slot(self, salt, root, zk, waiters, wait_until):
        zk.create(f"{root}/somebody", makepath=True)
        calls = [
            salt.start(LOCK, root, identifier="a", timeout="None"),
            salt.start(LOCK, root, identifier="b"),
        ]
        wait_until(lambda: len(waiters()) == 2, "both wait")
        zk.delete(f"{root}/somebody")
        wait_until(lambda: len(waiters()) == 1, "one has it")
        (lease,) = zk.get_children(root)
        zk.delete(f"{root}/{lease}")
        assert [call.answer().outcome for call in calls] == [(0, True)] * 2

    def test_force_takes_a_slot_that_is_not_there(self, salt, root, zk):
        zk.create(f"{root}/somebody", b"x", makepath=True)
        assert salt.salt_call(LOCK, root, identifier="a", force="True").outcome == (0, True)
        assert len(zk.get_children(root)) == 2

    def test_two_slots_are_two(self, salt, root):
        calls = [salt.start(LOCK, root, identifier=each, max_concurrency=2, timeout=5) for each in "ab"]
        assert [call.answer().outcome for call in calls] == [(0, True)] * 2
        assert salt.salt_call(LOCK, root, identifier="c", max_concurrency=2, timeout=0).outcome == (1, False)

    def test_hosts_are_a_list(self, salt, root, hosts):
        assert salt.salt_call(LOCK, root, hosts.split(",")).outcome == (0, True)

    def test_members_are_waited_for_until_they_are_there(self, salt, root, zk, ensemble, wait_until):
        zk.ShallowParty(root, "a").join()
        before = ensemble.sessions()
        call = salt.start(MEMBERS, root, blocking="True", min_nodes="2", timeout="60")
        wait_until(lambda: ensemble.sessions() - before, "it asks")
        zk.Party(root, "b").join()
        value = call.answer().value
        assert isinstance(value, list)
        assert sorted(value) == ["a", "b"]
        for member in zk.get_children(root):
            zk.delete(f"{root}/{member}")


class TestErrors:
    def test_another_limit_is_one_line_that_names_both_and_the_pool(self, salt, root, zk):
        zk.create(root, b"3")
        answer = salt.salt_call(LOCK, root, max_concurrency=2)
        assert answer.outcome == (1, None)
        assert answer.stdout == ""
        assert re.match(rf"Error running 'zk_concurrency\.lock': {root} .*\b3\b.*\b2\b", answer.complaint)

    def test_servers_out_of_reach_are_one_line_that_names_them_before_the_time_is_up(self, salt, root):
        with closed_port() as address:
            calls = {fun: salt.start(fun, root, address, timeout=1) for fun in (LOCK, HOLDERS)}
            for fun, call in calls.items():
                answer = call.answer(limit=30)
                assert (answer.outcome, answer.stdout) == ((1, None), "")
                expected = rf"Error running '{fun}': .* within \d\.\d s, tried {address}:"
                assert re.match(expected, answer.complaint)

    def test_a_wrong_argument_is_named_without_a_traceback(self, salt, root):
        answer = salt.salt_call(LOCK, root, timeout="-1")
        assert answer.outcome == (1, None)
        assert "Passed invalid arguments: timeout: must not be negative" in answer.stderr
        assert "Traceback" not in answer.stdout + answer.stderr


class TestEndOfTheProcess:
    def test_an_ephemeral_lease_goes_with_it(self, salt, root, children, wait_until):
        assert salt.salt_call(LOCK, root, ephemeral_lease="True").outcome == (0, True)
        # The session would last longer than that by far.
        wait_until(lambda: not children(root), "the lease is gone", limit=5)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
    @pytest.mark.parametrize("waited", [0, 0.5])
    def test_a_signal_while_it_waits_leaves_no_waiter_and_says_so(
        self, salt, root, zk, waiters, wait_until, number, waited
    ):
        zk.create(f"{root}/somebody", makepath=True)
        call = salt.start(LOCK, root)
        wait_until(waiters, "it waits")
        place = zk.exists(f"{root}-__lock__/{waiters()[0]}")
        wait_until(lambda: time.time() - place.created >= waited, "it has waited for long enough")
        call.signal(number)
        answer = call.answer(limit=30)
        assert waiters() == []
        assert answer.outcome == (1, None)
        assert answer.complaint.startswith(f"Error running '{LOCK}': cancelled by {number.name} ")
        assert "took no slot" in answer.complaint


class TestSecrets:
    """A password that comes from a profile is in no output, at whatever level."""

    @pytest.fixture
    def salt(self, minionless, hosts):
        profile = {"hosts": hosts, "session_timeout": LONG, "username": "salt", "password": SECRET}
        acl = {"username": "salt", "password": SECRET, "allperms": True}
        other = {**profile, "username": "other", "password": f"not {SECRET}"}
        return minionless(
            log_level_logfile="all",
            zookeeper={
                "blue": {**profile, "default_acl": acl},
                "other": other,
                "far": {**profile, "default_acl": acl, "send_credentials_to_any_host": True},
            },
        )

    def check(self, salt, answer) -> None:
        written = salt.written()
        logs = [text for path, text in written.items() if path.parts[-3:] == ("log", "salt", "minion")]
        assert all("LazyLoaded zk_concurrency" in log for log in logs), "a log file is not worth looking into"
        assert "LazyLoaded zk_concurrency" in answer.stderr, "the output is not worth looking into"
        told = [str(path) for path, text in written.items() if SECRET in text]
        assert (SECRET in answer.stdout, SECRET in answer.stderr, told) == (False, False, [])

    @pytest.mark.parametrize("level", ["trace", "all"])
    def test_not_where_it_opens_the_door(self, salt, root, level):
        answer = salt.salt_call(LOCK, root, profile="blue", options=("-l", level))
        assert answer.outcome == (0, True)
        self.check(salt, answer)

    def test_not_where_the_door_stays_shut(self, salt, root):
        salt.salt_call(LOCK, root, profile="blue", identifier="a")
        answer = salt.salt_call(LOCK, root, profile="other", options=("-l", "all"))
        assert answer.outcome == (1, None)
        assert "digest:other" in answer.stderr
        self.check(salt, answer)

    def test_not_with_servers_out_of_reach(self, salt, root):
        with closed_port() as address:
            answer = salt.salt_call(LOCK, root, zk_hosts=address, profile="far", timeout=0.5, options=("-l", "all"))
        assert answer.outcome == (1, None)
        self.check(salt, answer)
