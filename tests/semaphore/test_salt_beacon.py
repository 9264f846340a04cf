"""The beacon `zk_concurrency`: a slot that is held for too long, and a queue that is too long, are fired once."""

import pytest
import zkcoord
from zkcoord import lock, unlock

from tests.support.calls import Waiting, queue


@pytest.fixture
def beacon(monkeypatch, hosts):
    """The beacon in this process, with what the loader puts into it."""
    from saltext.zkcoord.beacons import zk_concurrency

    opts = {"id": "probe", "grains": {}, "pillar": {"zookeeper": {"hosts": hosts}}}
    for name, value in {"__opts__": opts, "__context__": {}}.items():
        monkeypatch.setattr(zk_concurrency, name, value, raising=False)
    assert zk_concurrency.__virtual__() == "zk_concurrency"
    return zk_concurrency


def test_a_slot_that_is_held_for_too_long_is_fired_once_and_once_more_when_it_is_free(beacon, hosts, root, wait_until):
    config = [{"pools": [root]}, {"older_than": 0.5}]
    assert lock(root, hosts, "web1", reason="a kernel", job="20261126")
    assert beacon.beacon(config) == []
    news = []
    wait_until(lambda: news.extend(beacon.beacon(config)) or news, "it is old")
    [event] = news
    assert (event["tag"], event["path"], event["what"]) == (root.strip("/"), root, "held")
    assert (event["identifier"], event["reason"], event["job"]) == ("web1", "a kernel", "20261126")
    assert (event["ephemeral"], event["age"] > 0.5) == (False, True)
    assert beacon.beacon(config) == [], "once"
    assert unlock(root, hosts, "web1")
    [event] = beacon.beacon(config)
    assert (event["what"], event["identifier"]) == ("released", "web1")
    assert beacon.beacon(config) == []


def test_a_queue_that_is_too_long_is_fired_until_it_has_moved(beacon, hosts, root, zk, wait_until):
    config = [{"below": root}, {"longer_than": 1}]
    assert lock(f"{root}/web", hosts, "a")
    waiting = []
    for number in range(2):
        waiting.append(Waiting(lock, f"{root}/web", hosts, f"w{number}"))
        wait_until(lambda: len(queue(zk, f"{root}/web")) == number + 1, "it waits")  # noqa: B023 - called at once
        news = beacon.beacon(config)
    assert [(it["what"], it["path"], it["waiting"]) for it in news] == [("queued", f"{root}/web", 2)]
    assert news[0]["oldest"] >= 0
    assert beacon.beacon(config) == []
    unlock(f"{root}/web", hosts, "a")
    assert waiting[0].result()
    assert [(it["what"], it["waiting"]) for it in beacon.beacon(config)] == [("moved", 1)]
    unlock(f"{root}/web", hosts, "w0")
    assert waiting[1].result()


def test_a_pool_that_is_removed_is_odd_no_more(beacon, hosts, root):
    config = [{"below": root}, {"older_than": 0}]
    assert beacon.beacon(config) == [], "nobody has asked for a slot there yet"
    assert lock(f"{root}/web", hosts, "web1")
    assert [it["what"] for it in beacon.beacon(config)] == ["held"]
    assert unlock(f"{root}/web", hosts, "web1")
    assert zkcoord.remove_pool(f"{root}/web", hosts)
    assert [it["what"] for it in beacon.beacon(config)] == ["released"]
    assert beacon.__context__["zk_concurrency.beacon"] == {}


def test_a_pool_that_must_not_be_read_hides_no_other(beacon, hosts, root, zk, caplog):
    from kazoo.security import make_digest_acl

    for name in ("db", "web"):
        assert lock(f"{root}/{name}", hosts, "a", 3)
    zk.create(f"{root}/db/closed", b"x", acl=[make_digest_acl("owner", "secret", all=True)])
    assert [it["path"] for it in beacon.beacon([{"below": root}, {"older_than": 0}])] == [f"{root}/web"]
    assert f"not permitted to read {root}/db/closed" in caplog.text


def test_nothing_that_a_terminal_obeys_is_fired(beacon, hosts, root):
    assert lock(root, hosts, "web\x1b[2J", reason="\x1b]0;x")
    [event] = beacon.beacon([{"pools": [root, root]}, {"older_than": 0}])
    assert (event["identifier"], event["reason"]) == ("web\\x1b[2J", "\\x1b]0;x")


def test_servers_that_do_not_answer_are_in_the_log_and_news_of_before_is_not_lost(beacon, hosts, root, proxies, caplog):
    beacon.__opts__["pillar"] = {"zookeeper": {"hosts": proxies.hosts}}
    config = [{"pools": [root]}, {"older_than": 0}]
    assert lock(root, hosts, "web1")
    assert [it["what"] for it in beacon.beacon(config)] == ["held"]
    zkcoord.close()
    for proxy in proxies:
        proxy.refuse()
    assert beacon.beacon(config) == []
    assert "zk_concurrency beacon: no ZooKeeper server answered" in caplog.text
    for proxy in proxies:
        proxy.accept()
    assert unlock(root, hosts, "web1")
    assert [it["what"] for it in beacon.beacon(config)] == ["released"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "must be a list of dictionaries"),
        ([{"pools": "/a"}, {"older_than": 1}], "pools must be a list of paths"),
        ([{"older_than": 1}], "needs pools, a list of paths, or below"),
        ([{"below": 5}, {"older_than": 1}], "needs pools, a list of paths, or below"),
        ([{"pools": ["/a"]}], "needs older_than"),
        ([{"pools": ["/a"]}, {"older_than": "1h"}], "numbers"),
        ([{"pools": ["/a"]}, {"longer_than": True}], "numbers"),
    ],
)
def test_a_configuration_that_is_none_is_refused(beacon, config, words):
    is_valid, message = beacon.validate(config)
    assert not is_valid
    assert words in message


def test_one_that_is_right_is_taken(beacon):
    assert beacon.validate([{"below": "/restart"}, {"older_than": 3600}, {"longer_than": 5}, {"interval": 60}])[0]
