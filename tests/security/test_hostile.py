"""What others may have put into ZooKeeper: too much, too long, and what is no text."""

import struct
import subprocess

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import BadArgumentsError
from kazoo.protocol.serialization import Create, write_buffer
from kazoo.security import OPEN_ACL_UNSAFE
from zkcoord import errors, lock, lock_holders, party_members, set_max, status, unlock, znode

from tests.support.calls import Waiting, children

MOST = 0xFFFFF
"""The servers' `jute.maxbuffer`: bytes of a request."""


def fill(zk: KazooClient, path: str, names: list[str], data: bytes = b"") -> None:
    """Create many children, a thousand in a transaction."""
    for start in range(0, len(names), 1000):
        transaction = zk.transaction()
        for name in names[start : start + 1000]:
            transaction.create(f"{path}/{name}", data)
        assert not [result for result in transaction.commit() if isinstance(result, Exception)]


class TestAMebibyte:
    """The most that a znode can hold is in the way of nobody."""

    DATA = b"\xff" * (MOST - 300)

    def test_as_the_data_of_a_pool(self, hosts, root, zk):
        zk.create(root, self.DATA)
        assert lock(root, hosts, identifier="a", timeout=10), "somebody else's data limits nothing"
        assert lock_holders(root, hosts) == ["a"]
        assert status(root, zk_hosts=hosts)["max_concurrency"] is None
        with pytest.raises(errors.ArgumentError, match="no number") as caught:
            set_max(root, 2, zk_hosts=hosts)
        assert len(str(caught.value)) < 300, "and it is not quoted"
        assert unlock(root, hosts, identifier="a")

    def test_as_a_lease(self, hosts, root, zk):
        set_max(root, 2, zk_hosts=hosts)
        zk.create(f"{root}/{'0' * 32}", self.DATA)
        assert lock(root, hosts, identifier="a", max_concurrency=2, timeout=10)
        holders = lock_holders(root, hosts)
        assert sorted(map(len, holders)) == [1, len(self.DATA)]
        assert len(status(root, zk_hosts=hosts)["holders"]) == 2
        assert unlock(root, hosts, identifier="a")

    def test_as_a_place_in_the_queue(self, hosts, root, zk, wait_until):
        lock(root, hosts, identifier="a")
        zk.create(f"{root}-__lock__/{'0' * 32}__lock__", self.DATA, sequence=True)
        waiting = Waiting(lock, root, hosts, identifier="b", timeout=30)
        wait_until(lambda: len(children(zk, f"{root}-__lock__")) == 2, "b waits behind it")
        assert [len(waiter["identifier"]) for waiter in status(root, zk_hosts=hosts)["waiters"]] == [len(self.DATA), 1]
        unlock(root, hosts, identifier="a")
        (first, _) = sorted(children(zk, f"{root}-__lock__"), key=lambda name: name[-10:])
        zk.delete(f"{root}-__lock__/{first}")
        assert waiting.result()

    def test_as_a_member_of_a_party(self, hosts, root, zk):
        zk.create(root)
        zk.create(f"{root}/{'a' * 32}__party__", self.DATA)
        (member,) = party_members(root, hosts)
        assert len(member) == len(self.DATA)

    def test_many_at_once_are_more_than_a_reply_may_hold(self, hosts, root, zk):
        set_max(root, 9, zk_hosts=hosts)
        for number in range(5):
            zk.create(f"{root}/{number:032}", self.DATA)
        assert [len(holder) for holder in lock_holders(root, hosts)] == [len(self.DATA)] * 5

    def test_the_longest_value_is_taken_and_one_byte_more_is_refused_at_once(self, hosts, root):
        # Header, lengths, version: all that goes with a request to set.
        longest = MOST - 20 - len(root)
        znode.create(root, zk_hosts=hosts)
        znode.set(root, b"x" * (longest - 4), zk_hosts=hosts)
        assert len(znode.get(root, zk_hosts=hosts)) == longest - 4
        for call in (
            lambda: znode.set(root, b"x" * (longest - 3), zk_hosts=hosts),
            lambda: znode.create(f"{root}-b", b"x" * longest, zk_hosts=hosts),
            lambda: znode.create(f"{root}-b", b"x" * MOST, zk_hosts="127.0.0.1:1"),
        ):
            with pytest.raises(errors.ArgumentError, match=rf"^value: is too long with \d+ bytes; servers take {MOST}"):
                call()
        acl = [{"scheme": "world", "perms": "all"}, {"username": "u" * 50_000, "password": "p", "read": True}]
        with pytest.raises(errors.ArgumentError, match=r"^value: is too long"):
            znode.create(f"{root}-b", b"x" * (MOST - 50_000), acls=acl, zk_hosts=hosts)
        assert not znode.exists(f"{root}-b", zk_hosts=hosts)


class TestTenThousand:
    def test_leases(self, hosts, root, zk):
        zk.create(root, b"10001")
        fill(zk, root, [f"{number:032x}" for number in range(10_000)], b"somebody")
        assert lock(root, hosts, identifier="a", max_concurrency=10_001, timeout=30)
        assert not lock(root, hosts, identifier="b", max_concurrency=10_001, timeout=0)
        assert len(lock_holders(root, hosts)) == 10_001
        assert status(root, zk_hosts=hosts)["free"] == 0
        assert unlock(root, hosts, identifier="a")
        znode.delete(root, recursive=True, zk_hosts=hosts)

    def test_places_in_the_queue(self, hosts, root, zk, wait_until):
        lock(root, hosts, identifier="a")
        queue = f"{root}-__lock__"
        fill(zk, queue, [f"{'0' * 32}__lock__{number:010}" for number in range(10_000)], b"somebody")
        for number in range(3):  # the servers count what was created in a queue
            zk.delete(zk.create(f"{queue}/x{number}-", sequence=True))
        assert not lock(root, hosts, identifier="b", timeout=0)
        found = status(root, zk_hosts=hosts)
        assert len(found["waiters"]) == 10_000
        assert found["waiters"][-1]["position"] == 10_000
        assert unlock(root, hosts, identifier="a")
        znode.delete(queue, recursive=True, zk_hosts=hosts)

    def test_children_that_are_no_places(self, hosts, root, zk):
        zk.create(f"{root}-__lock__")
        fill(zk, f"{root}-__lock__", [f"junk-{number}" for number in range(10_000)])
        assert lock(root, hosts, identifier="a", timeout=30)
        assert status(root, zk_hosts=hosts)["waiters"] == []
        znode.delete(f"{root}-__lock__", recursive=True, zk_hosts=hosts)


class RawCreate(Create):
    """A request whose path is bytes, and no text."""

    def serialize(self) -> bytearray:
        path = self.path.encode("utf-8", "surrogateescape")
        body = bytearray(write_buffer(path) + write_buffer(self.data) + struct.pack("!i", len(self.acl)))
        for acl in self.acl:
            body += struct.pack("!i", acl.perms)
            body += write_buffer(acl.id.scheme.encode()) + write_buffer(acl.id.id.encode())
        return body + struct.pack("!i", self.flags)


def create_raw(zk: KazooClient, path: bytes, data: bytes) -> None:
    """Create a znode as a client does that checks nothing."""
    result = zk.handler.async_result()
    zk._call(RawCreate(path.decode("utf-8", "surrogateescape"), data, OPEN_ACL_UNSAFE, 0), result)
    result.get(timeout=10)


# A server reads what is no UTF-8 as replacement characters, and forbids these in a name, and what is beyond 16 bits.
NO_TEXT = [b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f\x92\xa9"]
CONTROLS = [b"\x00", b"\x01", b"\n", b"\x1f", b"\x7f", b"\xc2\x85"]
ODD = ["\u202e\u200b", "%s%n{}", " ", "'\"`$(x)", "." * 3, "__lock__", "x" * 5000]


class TestNames:
    @pytest.mark.parametrize("name", [*NO_TEXT, *CONTROLS], ids=repr)
    def test_that_are_no_text_are_refused_by_the_servers(self, root, zk, name):
        zk.create(root)
        with pytest.raises(BadArgumentsError):
            create_raw(zk, f"{root}/".encode() + name, b"")

    @pytest.mark.parametrize("name", ODD, ids=ascii)
    def test_that_are_odd_take_up_a_slot_and_break_nothing(self, hosts, root, zk, name):
        set_max(root, 3, zk_hosts=hosts)
        create_raw(zk, f"{root}/{name}".encode(), b"\xff\xfe")
        assert lock(root, hosts, identifier="a", max_concurrency=3, timeout=10)
        assert sorted(lock_holders(root, hosts)) == ["a", "\ufffd\ufffd"]
        found = status(root, zk_hosts=hosts)
        assert (found["free"], len(found["holders"])) == (1, 2)
        assert name in znode.children(root, zk_hosts=hosts)
        assert unlock(root, hosts, identifier="a")
        znode.delete(root, recursive=True, zk_hosts=hosts)

    @pytest.mark.parametrize("name", ODD, ids=ascii)
    def test_in_the_queue_and_in_a_party_too(self, hosts, root, zk, name):
        lock(root, hosts, identifier="a")
        create_raw(zk, f"{root}-__lock__/{name}__lock__0000000000".encode(), b"\xff")
        create_raw(zk, f"{root}-__lock__/__lock__{name}".encode(), b"\xff")
        assert not lock(root, hosts, identifier="b", timeout=0)
        assert [waiter["identifier"] for waiter in status(root, zk_hosts=hosts)["waiters"]] == ["\ufffd"]
        zk.create(f"{root}-party")
        create_raw(zk, f"{root}-party/{'a' * 32}-{name}".encode(), b"")
        create_raw(zk, f"{root}-party/{'b' * 31}{name}".encode(), b"")
        assert party_members(f"{root}-party", hosts) == [name]
        znode.delete(f"{root}-__lock__", recursive=True, zk_hosts=hosts)


# The wall clock, two years off as soon as there is a file; the monotonic clock as it is.
JUMPING_CLOCK = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/time.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static long jump(void) { return access(getenv("JUMP_FILE"), F_OK) ? 0 : atol(getenv("JUMP_SECONDS")); }
int clock_gettime(clockid_t id, struct timespec *at) {
  int failed = syscall(SYS_clock_gettime, id, at);
  if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += jump();
  return failed;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
"""
TWO_YEARS = 2 * 365 * 24 * 3600


class TestAClockThatJumps:
    """The wall clock of a host jumps by years while it waits. Waits and sessions go by another."""

    @pytest.fixture
    def jumper(self, tmp_path, script, monkeypatch):
        """Start a script whose clock will jump by so many seconds; the file that makes it jump."""
        (tmp_path / "clock.c").write_text(JUMPING_CLOCK)
        library = tmp_path / "clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "clock.c"], check=True, timeout=60)

        def start(seconds, code):
            with monkeypatch.context() as patch:
                patch.setenv("LD_PRELOAD", str(library))
                patch.setenv("JUMP_FILE", str(tmp_path / "jumped"))
                patch.setenv("JUMP_SECONDS", str(seconds))
                return script(code), tmp_path / "jumped"

        return start

    WAIT = """
        print("started")
        print(zkcoord.lock(root, hosts, "b", timeout={timeout}))
        print(round(zkcoord.status(root, zk_hosts=hosts)["holders"][0]["age"]))
    """

    def test_forward_ends_no_wait(self, hosts, root, zk, jumper, wait_until):
        lock(root, hosts, identifier="a")
        waiter, jump = jumper(TWO_YEARS, self.WAIT.format(timeout=100))
        assert waiter.line() == "started"
        wait_until(lambda: children(zk, f"{root}-__lock__"), "b waits")
        places = children(zk, f"{root}-__lock__")
        jump.touch()
        assert not lock(root, hosts, identifier="c", timeout=2), "time for b's timers to go off"
        assert children(zk, f"{root}-__lock__") == places
        unlock(root, hosts, identifier="a")
        assert waiter.line() == "True"
        assert int(waiter.line()) > TWO_YEARS - 3600, "its clock did jump"
        waiter.result()

    def test_backward_prolongs_no_wait(self, hosts, root, zk, jumper, wait_until):
        lock(root, hosts, identifier="a")
        waiter, jump = jumper(-TWO_YEARS, self.WAIT.format(timeout=3))
        assert waiter.line() == "started"
        wait_until(lambda: children(zk, f"{root}-__lock__"), "b waits")
        jump.touch()
        assert waiter.line() == "False"
        assert waiter.line() == "0", "no age is negative"
        waiter.result()
