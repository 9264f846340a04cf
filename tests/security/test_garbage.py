"""Servers that are none: nonsense, half frames, huge lengths, replies to what was not asked.

A call ends with an error of ours, within its time, in a process that lives and has not grown. What is not tried: a list
in a reply that claims billions of items. zookeeper-client 0.11.2 asks for the memory of all of them at once, and where
that is not to be had the process ends; SECURITY.md tells what follows.
"""

import asyncio
import random
import re
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

CONNECTED = struct.pack("!iiqi", 0, 10_000, 0x1234, 16) + bytes(16) + b"\0"
HUGE = 0x7FFFFFFF
PING, CLOSE = 11, -11
MEMORY = 256 * 1024
"""KiB that a process may need at most; it begins with about a tenth of that."""

Reply = Callable[[int, int, random.Random], bytes]


def frame(body: bytes) -> bytes:
    return struct.pack("!i", len(body)) + body


def answer(xid: int, body: bytes = b"", error: int = 0) -> bytes:
    return frame(struct.pack("!iqi", xid, 1, error) + body)


class Pretender:
    """Listens, and answers as it is told to: what to say to whoever connects, and to each request after that."""

    def __init__(self, greeting: bytes, reply: Reply, hang_up: bool, seed: int) -> None:
        self._greeting, self._reply, self._hang_up = greeting, reply, hang_up
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.hosts = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.connections = 0
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await reader.readexactly(struct.unpack("!i", await reader.readexactly(4))[0])
            writer.write(self._greeting)
            while not self._hang_up:
                await writer.drain()
                request = await reader.readexactly(struct.unpack("!i", await reader.readexactly(4))[0])
                xid, code = struct.unpack("!ii", request[:8])
                writer.write(self._reply(xid, code, self._random))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _drain(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._server.close()
        self._loop.run_until_complete(self._drain())
        self._loop.close()


@pytest.fixture
def pretend() -> Iterator[Callable[..., Pretender]]:
    made: list[Pretender] = []

    def start(greeting: bytes, reply: Reply = lambda *_: b"", hang_up: bool = False, seed: int = 0) -> Pretender:
        made.append(Pretender(greeting, reply, hang_up, seed))
        return made[-1]

    yield start
    for each in made:
        each.stop()


CALLS = """
from concurrent.futures import ThreadPoolExecutor
from zkcoord import errors, znode

def outcome(call, number=0):
    try:
        return repr(call(zk_hosts=hosts, timeout=limit, session_timeout=10 + number))[:50]
    except errors.Error as error:
        return type(error).__name__

acl = {"username": "u", "password": "p", "read": True}
CALLS = (
    lambda **at: zkcoord.lock("/p/q", identifier="a", **at),
    lambda **at: zkcoord.lock("/p/q", identifier="a", force=True, default_acl=acl, **at),
    lambda **at: zkcoord.unlock("/p", identifier="a", **at),
    lambda **at: zkcoord.lock_holders("/p", **at),
    lambda **at: zkcoord.party_members("/p", min_nodes=1, blocking=True, **at),
    lambda **at: zkcoord.status("/p", **at),
    lambda **at: zkcoord.set_max("/p", 2, **at),
    lambda **at: znode.create("/p", b"x", sequence=True, **at),
    lambda **at: znode.get("/p", **at),
    lambda **at: znode.get_acls("/p", **at),
    lambda **at: znode.set("/p", b"x", **at),
    lambda **at: znode.delete("/p", recursive=True, **at),
)
if at_once:
    with ThreadPoolExecutor(len(CALLS)) as threads:
        outcomes = threads.map(outcome, CALLS[:some], range(some or len(CALLS)))
else:
    outcomes = map(outcome, CALLS[:some])
print(*outcomes, sep="\\n")
zkcoord.close()
# Not by getrusage: a process inherits the greatest size of the one that has started it.
with open("/proc/self/status") as status:
    print("lives", next(line.split()[1] for line in status if line.startswith("VmHWM:")))
"""


@pytest.fixture
def suffer(script) -> Callable[..., set[str]]:
    """Call everything in a process of its own; the outcomes. It must live, say nothing, and stay small.

    `at_once` each call has a thread and a session of its own.
    """

    def suffer(pretender: Pretender, limit: float = 0.2, some: int | None = None, at_once: bool = True) -> set[str]:
        process = script(CALLS, hosts=pretender.hosts, limit=limit, some=some, at_once=at_once)
        *outcomes, last = process.result(90).splitlines()
        word, memory = last.split()
        assert word == "lives"
        assert int(memory) < MEMORY
        # zookeeper-client panics over some replies; a task that panics is an error of ours. We do not.
        told = re.findall(r"panicked at (\S+?):\d+", process.stderr)
        assert not [place for place in told if "zookeeper-client" not in place and "/library/" not in place]
        if not pretender.connections and limit < 1:  # the machine was busy for longer than that
            return suffer(pretender, 10 * limit, some, at_once)
        assert pretender.connections
        return set(outcomes)

    return suffer


UNANSWERED = {"Unreachable", "ConnectionLost"}

GREETINGS = {
    "nothing": b"",
    "text": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "negative length": struct.pack("!i", -1) + CONNECTED,
    "huge length": struct.pack("!i", HUGE) + CONNECTED,
    "half a frame": frame(CONNECTED)[:20],
    "empty frame": frame(b""),
    "another version": frame(struct.pack("!iiqi", 7, 10_000, 1, 16) + bytes(17)),
    "negative timeout": frame(struct.pack("!iiqi", 0, -1, 1, 16) + bytes(17)),
    "no timeout": frame(struct.pack("!iiqi", 0, 0, 1, 16) + bytes(17)),
    "longest timeout": frame(struct.pack("!iiqi", 0, HUGE, 1, 16) + bytes(17)),
    "huge password": frame(struct.pack("!iiqi", 0, 10_000, 1, HUGE) + bytes(17)),
    "no session": frame(struct.pack("!iiqi", 0, 10_000, 0, 16) + bytes(17)),
    "and a reply to nothing": frame(CONNECTED) + answer(99),
    "and half a reply": frame(CONNECTED) + answer(1)[:7],
    "and a huge reply": frame(CONNECTED) + struct.pack("!i", HUGE) + bytes(1000),
    "and events of nothing": frame(CONNECTED) + answer(-1, struct.pack("!iii", 1, 3, 2) + b"/p") * 100,
    "and odd events": frame(CONNECTED) + answer(-1, struct.pack("!iii", 99, 99, HUGE)),
}


@pytest.mark.parametrize("hang_up", [False, True], ids=["and waits", "and hangs up"])
@pytest.mark.parametrize("greeting", GREETINGS.values(), ids=GREETINGS)
def test_a_greeting(pretend, suffer, greeting, hang_up):
    assert suffer(pretend(greeting, hang_up=hang_up), limit=0.1, some=4) <= UNANSWERED


REPLIES: dict[str, Reply] = {
    "silence": lambda xid, code, _: b"",
    "to another request": lambda xid, code, _: answer(xid + 1000),
    "to the same twice": lambda xid, code, _: answer(xid) * 2,
    "empty": lambda xid, code, _: answer(xid),
    "without a header": lambda xid, code, _: frame(b"\0\0"),
    "no frame": lambda xid, code, _: struct.pack("!i", -5),
    "huge frame": lambda xid, code, _: struct.pack("!i", HUGE) + bytes(100),
    "cut short": lambda xid, code, _: answer(xid, bytes(100))[:60],
    "ones": lambda xid, code, _: answer(xid, b"\xff" * 200),
    "a list of a million": lambda xid, code, _: answer(xid, struct.pack("!i", 10**6)),
    "text that is none": lambda xid, code, _: answer(xid, struct.pack("!ii", 1, 4) + b"\xff\xfe\xfd\xfc"),
    "a huge text": lambda xid, code, _: answer(xid, struct.pack("!ii", 1, HUGE) + b"abc"),
    "odd error": lambda xid, code, _: answer(xid, error=-9999),
    "positive error": lambda xid, code, _: answer(xid, error=5),
    "runtime error": lambda xid, code, _: answer(xid, error=-2),
    "marshalling error": lambda xid, code, _: answer(xid, error=-5),
    "auth failed": lambda xid, code, _: answer(xid, error=-115),
    "session expired": lambda xid, code, _: answer(xid, error=-112),
    "session moved": lambda xid, code, _: answer(xid, error=-118),
    "throttled": lambda xid, code, _: answer(xid, error=-127),
}


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
def test_a_reply(pretend, suffer, reply):
    suffer(pretend(frame(CONNECTED), reply))


@pytest.mark.parametrize("seed", range(8))
def test_replies_of_chance(pretend, suffer, seed):
    """Frames that are well formed, for the right request, with chance in them."""

    def reply(xid: int, code: int, chance: random.Random) -> bytes:
        if code in (PING, CLOSE):
            return answer(-2 if code == PING else xid)
        small = [struct.pack("!i", chance.choice([-1, 0, 1, 2, 3, 5, 8, 15, 200, 10**6])) for _ in range(20)]
        body = b"".join(piece + chance.randbytes(chance.randrange(20)) for piece in small)
        error = chance.choice([0] * 9 + [-101, -102, -103, -110, -111])
        return answer(xid, body[: chance.randrange(len(body))], error)

    # One after the other: what is answered depends on the number of the request.
    suffer(pretend(frame(CONNECTED), reply, seed=seed), at_once=False)


def test_a_panic_is_an_error_and_the_next_call_goes_on(pretend, script, hosts):
    """A reply without the data that was asked for: zookeeper-client 0.11.2 panics."""
    pretender = pretend(frame(CONNECTED), lambda xid, code, _: answer(xid))
    code = """
        from zkcoord import errors, znode
        for _ in range(2):
            try:
                znode.get("/p", zk_hosts=pretender, timeout=5)
            except errors.InternalError as error:
                print(error)
        print(znode.exists("/zookeeper", zk_hosts=hosts))
    """
    *told, last = script(code, pretender=pretender.hosts).result().splitlines()
    assert len(told) == 2
    assert all(re.match(r"internal error, please report it: task \d+ panicked", line) for line in told), told
    assert last == "True"
