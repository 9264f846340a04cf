"""Jobs of real minions with a real master, on every supported Salt.

A session that is not closed lasts for longer than the check for leftovers waits: see `support/salt.py`.
"""

from __future__ import annotations

import re
import textwrap

import pytest

from tests.support.salt import LONG, VERSIONS, Cluster, closed_port

LOCK = "zk_concurrency.lock"
UNLOCK = "zk_concurrency.unlock"
HOLDERS = "zk_concurrency.lock_holders"

# Beacons run in the minion's main process, whose forks the jobs are.
BEACON = """
    import pathlib
    import zkcoord

    def validate(config):
        return True, "valid"

    def beacon(config):
        config = config[0]
        if pathlib.Path(config["switch"]).exists():
            zkcoord.lock("{pool}", config["hosts"], identifier="minion", ephemeral_lease=True, max_concurrency=9,
                         config_get=lambda key, default: {long} if key.endswith("session_timeout") else default)
        else:
            zkcoord.close()
        return []
"""
BEACON_POOL = "/held-by-the-minion-itself"


@pytest.fixture(scope="module")
def switch(tmp_path_factory):
    """While this file is there, the minion `m1` has a session of its own."""
    return tmp_path_factory.mktemp("beacons") / "switch"


@pytest.fixture(scope="module", params=VERSIONS)
def cluster(request, ensemble, switch):
    """A master; `m1` and `m2`, which fork a process for each job; `t`, where jobs are threads."""
    (switch.parent / "held.py").write_text(textwrap.dedent(BEACON.format(pool=BEACON_POOL, long=LONG)))
    profile = {"session_timeout": LONG, "hosts": ensemble.hosts}
    common = {"zookeeper": profile}
    held = [{"switch": str(switch), "hosts": ensemble.hosts}, {"interval": 1}]
    cluster = Cluster(
        request.param,
        {
            "m1": {**common, "beacons_dirs": [str(switch.parent)], "beacons": {"held": held}},
            "m2": common,
            "t": {**common, "multiprocessing": False, "zookeeper": {**profile, "session_timeout": 12}},
        },
    )
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(autouse=True)
def commands_end_with_the_test(cluster):
    yield
    cluster.end_commands()


@pytest.fixture
def no_session_left(ensemble, zk, wait_until):
    """No session but the observer's, at once."""
    own = {f"{zk.client_id[0] & (2**64 - 1):#x}"}
    return lambda: wait_until(lambda: not ensemble.sessions() - own, "the sessions have ended", limit=5)


def test_one_of_two_minions_gets_the_slot_and_the_other_hears_that_it_did_not(cluster, root, no_session_left):
    calls = {name: cluster.salt(name, LOCK, root, identifier=name, timeout=2) for name in ("m1", "m2")}
    answers = {name: call.answer().outcome for name, call in calls.items()}
    no_session_left()
    assert sorted(answers.values()) == [(0, True), (1, False)]
    (winner,) = (name for name, (_, held) in answers.items() if held)
    (loser,) = set(answers) - {winner}
    assert cluster.salt(loser, HOLDERS, root).answer().outcome == (0, [winner])
    assert cluster.salt(loser, UNLOCK, root, identifier=winner).answer().outcome == (0, True)
    assert cluster.salt(winner, UNLOCK, root, identifier=winner).answer().outcome == (1, False)
    no_session_left()


def test_a_waiting_job_gets_the_slot_that_another_minion_gives_back(cluster, root, waiters, wait_until):
    assert cluster.salt("m1", LOCK, root, identifier="m1").answer().outcome == (0, True)
    waiting = cluster.salt("m2", LOCK, root, identifier="m2", timeout=60)
    wait_until(waiters, "m2 waits")
    assert cluster.salt("m1", UNLOCK, root, identifier="m1").answer().outcome == (0, True)
    assert waiting.answer().outcome == (0, True)


def test_an_ephemeral_lease_ends_with_its_job(cluster, root, children, wait_until, no_session_left):
    assert cluster.salt("m1", LOCK, root, ephemeral_lease=True).answer().outcome == (0, True)
    no_session_left()
    wait_until(lambda: not children(root), "the lease is gone", limit=5)


def test_an_error_is_one_line(cluster, root):
    with closed_port() as address:
        answer = cluster.salt("m1", LOCK, root, address, timeout=0.5).answer()
    assert answer.code == 1
    expected = rf"ERROR: no ZooKeeper server answered within \d\.\d s, tried {address}: .*"
    assert re.fullmatch(expected, str(answer.value))


def test_a_waiting_job_that_is_terminated_leaves_the_queue_at_once_and_says_so(
    cluster, root, zk, waiters, wait_until, no_session_left
):
    zk.create(f"{root}/somebody", makepath=True)
    waiting = cluster.salt("m2", LOCK, root)
    wait_until(waiters, "m2 waits")
    (jid,) = (job["jid"] for job in cluster.running("m2") if job["fun"] == LOCK)
    assert cluster.salt("m2", "saltutil.term_job", f"'{jid}'").answer().code == 0
    wait_until(lambda: not waiters(), "its place is gone", limit=5)
    answer = waiting.answer()
    assert answer.code == 1
    assert re.fullmatch(rf"ERROR: cancelled by SIGTERM .*{root}.*", str(answer.value))
    no_session_left()


def test_jobs_of_a_minion_that_has_a_session_of_its_own_use_the_ensemble_and_leave_it_alone(
    cluster, switch, root, zk, children, wait_until, no_session_left
):
    switch.touch()
    try:
        wait_until(lambda: children(BEACON_POOL), "the minion itself has a session")
        (lease,) = children(BEACON_POOL)
        owner = zk.exists(f"{BEACON_POOL}/{lease}").ephemeralOwner
        assert cluster.salt("m1", LOCK, root, ephemeral_lease=True).answer().outcome == (0, True)
        wait_until(lambda: not children(root), "the job's lease is gone", limit=5)
        assert cluster.salt("m1", LOCK, root, identifier="a", timeout=5).answer().outcome == (0, True)
        assert cluster.salt("m1", LOCK, root, identifier="b", timeout=1).answer().outcome == (1, False)
        assert children(BEACON_POOL) == [lease]
        assert zk.exists(f"{BEACON_POOL}/{lease}").ephemeralOwner == owner
    finally:
        switch.unlink()
    wait_until(lambda: not children(BEACON_POOL), "the minion has closed its session")
    no_session_left()


def test_parallel_states_after_one_that_used_the_ensemble_use_it_too(cluster, root, no_session_left):
    def lock(who: str, *more: object) -> dict[str, list[object]]:
        arguments = [root, {"identifier": who}, {"max_concurrency": 3}, {"timeout": 30}]
        return {"module.run": [{LOCK: arguments}, *more]}

    parallel = {"parallel": True}
    cluster.state(
        "parallel",
        {"first": lock("first"), "second": lock("second", parallel), "third": lock("third", parallel)},
    )
    answer = cluster.salt("m2", "state.apply", "parallel").answer()
    assert answer.code == 0, answer
    holders = cluster.salt("m2", HOLDERS, root).answer().value
    assert isinstance(holders, list)
    assert sorted(holders) == ["first", "second", "third"]
    no_session_left()


def test_jobs_in_threads_share_a_session_which_ends_with_the_minion(cluster, ensemble, root, waiters, wait_until):
    before = ensemble.sessions()
    assert cluster.salt("t", LOCK, root, identifier="a").answer().outcome == (0, True)
    waiting = cluster.salt("t", LOCK, root, identifier="b", timeout=60)
    wait_until(waiters, "b waits")
    assert cluster.salt("t", UNLOCK, root, identifier="a").answer().outcome == (0, True)
    assert waiting.answer().outcome == (0, True)
    assert len(ensemble.sessions() - before) == 1
    cluster.terminate("t")
    # It would last for at least eight seconds more if nobody closed it.
    wait_until(lambda: not ensemble.sessions() - before, "the session has ended", limit=4)
