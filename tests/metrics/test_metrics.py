"""`zkcoord.metrics`: what the official parsers read of it is what is there."""

import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as of_openmetrics
from prometheus_client.parser import text_string_to_metric_families as of_textfile
from zkcoord import errors, grants, lease, lock, metrics, unlock

from tests.support.calls import Waiting, queue

RULES = Path(__file__).parents[2] / "examples/alerts/zkcoord.rules.yml"


def samples(families):
    """The value of each sample, by its name and its labels."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value for family in families for sample in family.samples
    }


@pytest.fixture
def read(hosts, root):
    """The samples that there are now below the test's own root, without the servers unless these are asked for."""

    def read(**about):
        text = metrics.text(**{"root": root, "zk_hosts": hosts, "servers": False, **about})
        assert text.endswith("# EOF\n")
        return samples(of_openmetrics(text))

    return read


def test_slots_are_counted_as_status_tells_them(read, hosts, root, zk, wait_until):
    web, pool = f"{root}/web", ("pool", f"{root}/web")
    assert lock(web, hosts, "a", 2)
    assert lock(web, hosts, "b", 2)
    waiting = Waiting(lock, web, hosts, "c", 2)
    wait_until(lambda: queue(zk, web) == ["c"], "c waits")
    found = read()
    whole = {"limit": 2, "held": 2, "waiting": 1, "orphans": 0, "changes_total": 2}
    assert {name: found["zkcoord_slots_" + name, pool] for name in whole} == whole
    for name in ("oldest_holder_seconds", "oldest_waiter_seconds"):
        assert 0 <= found["zkcoord_slots_" + name, pool] < 60
    assert found["zkcoord_slots_waits_seconds_bucket", ("le", "60.0"), pool] == 1
    assert found["zkcoord_slots_waits_seconds_gcount", pool] == 1
    assert found["zkcoord_unanswered", ("part", "slots")] == 0
    unlock(web, hosts, "a", 2)
    assert waiting.result()
    found = read()
    assert (found["zkcoord_slots_waiting", pool], found["zkcoord_slots_changes_total", pool]) == (0, 4)
    assert found["zkcoord_slots_waits_seconds_gcount", pool] == 0


def test_a_queue_node_of_nobody_is_one(read, hosts, root, zk):
    zk.create(f"{root}/web", b"1", makepath=True)
    zk.create(f"{root}/web-__lock__/{'a' * 32}__lock__0000000000", b"x", makepath=True)
    assert read()["zkcoord_slots_orphans", ("pool", f"{root}/web")] == 1


def test_without_pools_there_are_no_samples_and_that_is_an_answer(read):
    assert read() == {("zkcoord_unanswered", ("part", "slots")): 0}


def test_timed_leases_and_grants_are_there_where_they_are_asked_for(read, hosts, root):
    path = f"{root.lower()}/leases/migration"
    lease.take(path, "web1", hosts, lease_duration=60)
    place = {"root": "/coordinator", "key": root.strip("/"), "zk_hosts": hosts}
    grants.acquire("kernel", "web1", **place)
    grants.acquire("kernel", "web2", **place)
    found = read(leases=[f"{root.lower()}/leases"], keys=[root.strip("/")])
    name = ("lease", path)
    assert 50 < found["zkcoord_lease_left_seconds", name] <= 60
    assert [found[f"zkcoord_lease_{what}", name] for what in ("held", "waiting", "transitions_total")] == [1, 0, 0]
    kernel = (("key", root.strip("/")), ("lock", "kernel"))
    numbers = [found[(f"zkcoord_grants_{what}", *kernel)] for what in ("granted", "waiting", "hopeless")]
    assert numbers == [1, 1, 0]
    assert 0 <= found[("zkcoord_grants_oldest_request_seconds", *kernel)] < 60
    assert lease.give_back(path, "web1", hosts)
    assert read(root=None, leases=[f"{root.lower()}/leases"])["zkcoord_lease_held", name] == 0


def test_servers_are_in_sync_and_one_leads(read, ensemble):
    found = read(servers=True, admin_port=0)
    of_servers = {key: value for key, value in found.items() if key[0].startswith("zkcoord_server_")}
    assert sum(value for key, value in of_servers.items() if key[0] == "zkcoord_server_in_sync") == 3
    assert sum(value for key, value in of_servers.items() if key[0] == "zkcoord_server_leads") == 1
    assert (found["zkcoord_quorum",], found["zkcoord_critical_servers",]) == (1, 0)


def test_what_is_not_answered_is_said_and_the_rest_is_there(read, hosts, root, zk, caplog):
    from kazoo.security import make_digest_acl

    assert lock(f"{root}/web", hosts, "a")
    secret = f"{root.lower()}-secret"
    zk.create(secret, acl=[make_digest_acl("owner", "secret", all=True)])
    found = read(leases=[secret])
    assert found["zkcoord_unanswered", ("part", "leases")] == 1
    assert found["zkcoord_unanswered", ("part", "slots")] == 0
    assert found["zkcoord_slots_held", ("pool", f"{root}/web")] == 1
    assert "no metrics of leases: not permitted to read" in caplog.text


def test_a_pool_that_must_not_be_read_whole_hides_no_other(read, hosts, root, zk):
    from kazoo.security import make_digest_acl

    for name in ("db", "web"):
        assert lock(f"{root}/{name}", hosts, "a", 3)
    zk.create(f"{root}/db/closed", b"x", acl=[make_digest_acl("owner", "secret", all=True)])
    found = read()
    numbers = [found["zkcoord_slots_held", ("pool", f"{root}/{name}")] for name in ("db", "web")]
    assert numbers == [2, 1]
    assert ("zkcoord_slots_oldest_holder_seconds", ("pool", f"{root}/db")) not in found
    assert found["zkcoord_unanswered", ("part", "slots")] == 0


@pytest.mark.parametrize("wrong", [{"root": "/a/../b"}, {"leases": ["/a/../b"]}, {"admin_port": -1, "servers": True}])
def test_a_wrong_argument_is_an_error_and_no_silence(read, wrong):
    with pytest.raises(errors.ArgumentError):
        read(**wrong)


def test_what_is_named_twice_is_there_once(read, hosts, root):
    path = f"{root.lower()}/leases/migration"
    lease.take(path, "web1", hosts, lease_duration=60)
    assert read(leases=[f"{root.lower()}/leases"] * 2)["zkcoord_lease_held", ("lease", path)] == 1


def test_servers_that_do_not_answer_are_no_error(proxies, root):
    for proxy in proxies:
        proxy.refuse()
    found = samples(of_openmetrics(metrics.text(root, proxies.hosts, timeout=2)))
    assert found["zkcoord_unanswered", ("part", "slots")] == 1
    assert found["zkcoord_quorum",] == 0
    assert {value for key, value in found.items() if key[0] == "zkcoord_server_in_sync"} == {0}
    with pytest.raises(errors.ArgumentError):
        metrics.text(root, "a b", use_ssl="perhaps")


def test_a_name_is_quoted_as_the_format_wants_it(read, hosts, root):
    assert lock(f'{root}/a"b\\c', hosts, "a")
    assert read()["zkcoord_slots_held", ("pool", f'{root}/a"b\\c')] == 1


def test_a_file_for_node_exporter_is_replaced_whole(hosts, root, tmp_path):
    assert lock(f"{root}/web", hosts, "a")
    file = tmp_path / "zkcoord.prom"
    file.write_text("old")
    metrics.write(file, root, hosts, servers=False)
    found = samples(of_textfile(file.read_text()))
    assert found["zkcoord_slots_held", ("pool", f"{root}/web")] == 1
    assert [it.name for it in tmp_path.iterdir()] == ["zkcoord.prom"]
    with pytest.raises(OSError, match="no-such"):
        metrics.write(tmp_path / "no-such/zkcoord.prom", root, hosts)


def test_a_registry_asks_only_when_it_is_asked(hosts, root):
    registry = CollectorRegistry()
    registry.register(metrics.Collector(root, "127.0.0.1:1", servers=False))
    registry = CollectorRegistry()
    registry.register(metrics.Collector(root, hosts, servers=False))
    assert lock(f"{root}/web", hosts, "a")
    assert registry.get_sample_value("zkcoord_slots_held", {"pool": f"{root}/web"}) == 1


def test_the_alerts_are_about_metrics_that_there_are(hosts, root, zk, wait_until):
    """Each expression names only what a full collection has, so that none of them is silent for ever."""
    assert lock(f"{root}/web", hosts, "a")
    grants.acquire("kernel", "web1", key=root.strip("/"), zk_hosts=hosts)
    text = metrics.text(root, hosts, keys=[root.strip("/")], admin_port=0)
    there = {sample.name for family in of_openmetrics(text) for sample in family.samples}
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    named = {rule["alert"]: set(re.findall(r"zkcoord_\w+", rule["expr"])) for rule in rules}
    assert len(named) >= 7
    assert {alert: names - there for alert, names in named.items() if names - there} == {}
    labels = {"pool", "key", "lock", "server", "lease"}
    used = re.findall(r"\$labels\.(\w+)", RULES.read_text())
    assert set(used) <= labels


class TestRunner:
    @pytest.fixture
    def runner(self, monkeypatch, hosts):
        from saltext.zkcoord.runners import zk_concurrency

        opts = {"id": "the_master", "__role": "master", "zookeeper": {"hosts": hosts}}
        for name, value in {"__salt__": {}, "__opts__": opts, "__context__": {}}.items():
            monkeypatch.setattr(zk_concurrency, name, value, raising=False)
        return zk_concurrency

    def test_it_answers_the_text_or_writes_the_file(self, runner, hosts, root, tmp_path):
        assert lock(f"{root}/web", hosts, "a")
        found = samples(of_openmetrics(runner.metrics(root, keys="a, b", admin_port=0)))
        assert found["zkcoord_slots_held", ("pool", f"{root}/web")] == 1
        assert found["zkcoord_unanswered", ("part", "grants")] == 0
        file = tmp_path / "zkcoord.prom"
        assert runner.metrics(root, textfile=str(file), leases=[root]) == str(file)
        assert samples(of_textfile(file.read_text()))["zkcoord_unanswered", ("part", "leases")] == 0

    def test_what_is_wrong_is_a_line(self, runner, root, tmp_path):
        from salt.exceptions import CommandExecutionError

        with pytest.raises(CommandExecutionError, match=r"cannot be written: .*No such file"):
            runner.metrics(root, textfile=str(tmp_path / "no-such/zkcoord.prom"))
        with pytest.raises(CommandExecutionError, match="use_ssl"):
            runner.metrics(root, use_ssl="perhaps")
