"""Old minions with Salt's stock module and new ones with ours share one limit."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
import zkcoord
from salt.modules import zk_concurrency

TURNS = 12

# Whose turn it is goes into a journal that only one at a time may write.
WORKER = """
    import fcntl

    def book(what):
        with open(journal, "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps([what, name]) + "\\n")

    def most_inside():
        inside = most = 0
        with open(journal) as file:
            for line in file:
                inside += 1 if json.loads(line)[0] == "enter" else -1
                most = max(most, inside)
        return most

    if kind == "stock":
        import salt.modules.zk_concurrency as module

        module.__salt__ = {"config.get": lambda key, default=None: default}
        module.__context__ = {}
        assert module.__virtual__() == "zk_concurrency"
    else:
        module = zkcoord
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    module.lock_holders(root + "-other", hosts)
    print("ready", flush=True)
    signal.sigwait([signal.SIGUSR1])
    for turn in range(turns):
        assert module.lock(root, hosts, name, max_concurrency=slots, timeout=60, ephemeral_lease=ephemeral) is True
        book("enter")
        end = time.monotonic() + 20
        while most_inside() < slots and time.monotonic() < end:
            time.sleep(0.002)
        time.sleep(0.002)  # the work
        book("leave")
        assert module.unlock(root, hosts, name, max_concurrency=slots, ephemeral_lease=ephemeral) is True
    if kind == "stock":
        for client in module.__context__["zkconnection"].values():
            client.stop()
"""


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch, hosts: str) -> Iterator[ModuleType]:
    """Salt's module, as the loader hands it out."""
    monkeypatch.setattr(zk_concurrency, "__salt__", {"config.get": lambda key, default=None: default}, raising=False)
    monkeypatch.setattr(zk_concurrency, "__context__", {}, raising=False)
    assert zk_concurrency.__virtual__() == "zk_concurrency"
    zk_concurrency._get_zk_conn(hosts=hosts)
    yield zk_concurrency
    for client in zk_concurrency.__context__.get("zkconnection", {}).values():
        client.stop()
        client.close()


@pytest.fixture
def catch_up(stock: ModuleType, hosts: str, root: str) -> Callable[[], object]:
    """Let stock, whose reads may be old, see what was done so far."""
    return lambda: stock._get_zk_conn(hosts=hosts).sync(root)


@pytest.mark.parametrize(("slots", "ephemeral"), [(1, False), (2, True), (3, False)])
def test_a_fleet_half_stock_and_half_ours_never_exceeds_the_limit(
    script, hosts, root, pool, tmp_path, slots, ephemeral
):
    journal = tmp_path / "journal"
    journal.touch()
    names = [f"{kind}-{number}" for number in range(6) for kind in ("stock", "ours")]
    workers = [
        script(
            WORKER,
            kind=name.split("-")[0],
            name=name,
            journal=str(journal),
            turns=TURNS,
            slots=slots,
            ephemeral=ephemeral,
        )
        for name in names
    ]
    for worker in workers:
        assert worker.line(60) == "ready"
    for worker in workers:
        worker.signal(signal.SIGUSR1)
    for worker in workers:
        worker.result(60)

    records = [json.loads(line) for line in journal.read_text().splitlines()]
    inside: list[str] = []
    most = 0
    for what, name in records:
        if what == "enter":
            inside.append(name)
        else:
            inside.remove(name)
        most = max(most, len(inside))
        assert len(inside) <= slots, f"{inside} at a time"
    assert most == slots
    assert Counter(name for what, name in records if what == "enter") == dict.fromkeys(names, TURNS)
    assert inside == pool.leases() == pool.places() == []
    # They did contend, rather than one kind after the other.
    kinds = [name.split("-")[0] for _, name in records]
    for one, other in [("stock", "ours"), ("ours", "stock")]:
        assert kinds.index(one) < len(kinds) - 1 - kinds[::-1].index(other)


def test_stock_adopts_our_lease_by_its_identifier_and_gives_it_back(stock, catch_up, hosts, root, pool):
    assert zkcoord.lock(root, hosts, "web1", timeout=20)
    catch_up()
    # It remembers the first identifier of a path until `unlock`.
    assert stock.lock_holders(root, hosts, "web1") == ["web1"]
    assert stock.unlock(root, hosts, "web1")
    assert pool.leases() == []

    assert zkcoord.lock(root, hosts, "web1", timeout=0)
    leases = pool.leases()
    catch_up()
    assert stock.lock(root, hosts, "web1", timeout=5) is True
    assert pool.leases() == leases
    assert stock.unlock(root, hosts, "web1")
    assert pool.leases() == []
    assert zkcoord.unlock(root, hosts, "web1") is False


@pytest.mark.parametrize("ephemeral", [False, True])
def test_we_hold_again_what_stock_holds_and_give_it_back(stock, hosts, root, pool, ephemeral):
    assert stock.lock(root, hosts, "web1", timeout=20)
    leases = pool.leases()
    assert zkcoord.lock(root, hosts, "web1", timeout=0, ephemeral_lease=ephemeral) is True
    assert zkcoord.lock(root, hosts, "web2", timeout=0) is False
    assert pool.leases() == leases
    assert zkcoord.lock_holders(root, hosts) == ["web1"]
    assert zkcoord.unlock(root, hosts, "web2") is False
    assert zkcoord.unlock(root, hosts, "web1", ephemeral_lease=ephemeral) is True
    assert zkcoord.unlock(root, hosts, "web1") is False
    assert pool.leases() == []


def test_both_mean_the_same_holder_without_an_identifier(stock, catch_up, hosts, root, pool):
    assert zkcoord.lock(root, hosts, timeout=20)
    catch_up()
    assert stock.lock(root, hosts, timeout=5) is True
    assert len(pool.leases()) == 1
    assert stock.unlock(root, hosts)
    assert pool.leases() == []


def test_each_waits_behind_the_other(stock, start, hosts, root, pool, wait_until):
    assert zkcoord.lock(root, hosts, "ours", timeout=20)
    stock_waits = start(stock.lock, root, hosts, "stock", timeout=30)
    wait_until(lambda: len(pool.places()) == 1, "stock waits behind us")
    we_wait = start(zkcoord.lock, root, hosts, "ours again", timeout=30)
    wait_until(lambda: len(pool.places()) == 2, "we wait behind stock")
    assert zkcoord.unlock(root, hosts, "ours")
    assert stock_waits.result(20) is True
    assert pool.holders() == ["stock"]
    assert pool.waiters() == ["ours again"]
    assert stock.unlock(root, hosts, "stock")
    assert we_wait.result(20) is True
    assert pool.holders() == ["ours again"]
    assert pool.places() == []


def test_limits_that_differ_are_an_error_on_both_sides(stock, catch_up, hosts, root, pool):
    assert zkcoord.lock(root, hosts, "ours", 2, 20)
    catch_up()
    with pytest.raises(ValueError, match="Inconsistent max leases: 2, expected: 3"):
        stock.lock(root, hosts, "stock", 3, 20)
    assert pool.holders() == ["ours"]
    theirs = f"{root}-theirs"
    assert stock.lock(theirs, hosts, "stock", 3, 20)
    for timeout in (0, 20):
        with pytest.raises(zkcoord.errors.LimitMismatch) as caught:
            zkcoord.lock(theirs, hosts, "ours", 2, timeout)
        assert caught.value.path == theirs
        assert {"2", "3"} <= set(str(caught.value).replace(theirs, "").replace(",", " ").split())
    assert zkcoord.lock_holders(theirs, hosts) == ["stock"]
    assert zkcoord.unlock(theirs, hosts, "stock")


def test_stock_lists_the_party_members_that_we_list(stock, catch_up, hosts, root, zk):
    members = [zk.ShallowParty(root, name) for name in ("one", "two-b")]
    for member in members:
        member.join()
    catch_up()
    assert sorted(stock.party_members(root, hosts)) == sorted(zkcoord.party_members(root, hosts)) == ["one", "two-b"]
    for member in members:
        member.leave()
