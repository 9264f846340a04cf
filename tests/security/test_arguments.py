"""Hostile arguments of every type to every function of the core: an error of ours, and nothing else ends a call."""

import collections.abc
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zkcoord
from zkcoord import errors, znode

NOBODY = "127.0.0.1:1"
HUGE = 2**62
LONGEST = 200_000
"""What an error may quote of an argument: a path of 64 KiB, with escapes."""


def fail(*_: object, **__: object) -> Any:
    raise RuntimeError("hostile")


class Text(str):
    __slots__ = ()
    __str__ = __repr__ = __len__ = __hash__ = __eq__ = fail  # type: ignore[assignment]


class Whole(int):
    __str__ = __index__ = __int__ = __float__ = fail  # type: ignore[assignment]


class Number(float):
    __str__ = __float__ = fail  # type: ignore[assignment]


class Nothing:
    __str__ = __repr__ = __len__ = __bool__ = __int__ = __index__ = __float__ = __iter__ = __getattr__ = fail
    __hash__ = __eq__ = fail  # type: ignore[assignment]


class LongList(list):  # type: ignore[type-arg]
    def __len__(self) -> int:
        return HUGE


class NegativeList(list):  # type: ignore[type-arg]
    def __len__(self) -> int:
        return -1  # noqa: PLE0303


class BrokenDict(dict):  # type: ignore[type-arg]
    items = keys = values = __iter__ = __getitem__ = fail  # type: ignore[assignment]


class OddDict(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        return [(1, 2, 3), 4]


class EndlessSequence(collections.abc.Sequence):  # type: ignore[type-arg]
    def __len__(self) -> int:
        return HUGE

    def __getitem__(self, index: object) -> Any:
        return "x"


class LongMapping(collections.abc.Mapping):  # type: ignore[type-arg]
    def __len__(self) -> int:
        return HUGE

    def __iter__(self) -> Iterator[str]:
        return iter("abc")

    def __getitem__(self, key: object) -> str:
        return "x"


def nested(wrap: Callable[[object], object]) -> object:
    value: object = []
    for _ in range(100_000):
        value = wrap(value)
    return value


LOOP: list[object] = []
LOOP.append(LOOP)
DEEP = nested(lambda inner: [inner])

HOSTILE: dict[str, object] = {
    "bytes": b"a",
    "bytearray": bytearray(b"a"),
    "memoryview": memoryview(b"a"),
    "huge": 10**400,
    "minus huge": -(10**400),
    "2**31": 2**31,
    "2**63": 2**63,
    "more digits than print": 10**5000,
    "minus one": -1,
    "fraction": 1.5,
    "nan": float("nan"),
    "infinity": float("inf"),
    "longest time": 1e308,
    "true": True,
    "complex": 1j,
    "tuple": ("a",),
    "set": {1},
    "list of lists": [[[]]],
    "list of nothing": [None],
    "dict": {"a": 1},
    "dict of numbers": {1: 1},
    "object": object(),
    "class": object,
    "text that fails": Text("x"),
    "empty text that fails": Text(),
    "int that fails": Whole(5),
    "float that fails": Number(0.25),
    "everything fails": Nothing(),
    "list of 2**62": LongList(["a"]),
    "empty list of 2**62": LongList(),
    "list of minus one": NegativeList(["a"]),
    "dict that fails": BrokenDict(a=1),
    "odd dict": OddDict(a=1),
    "endless": EndlessSequence(),
    "long mapping": LongMapping(),
    "a list in itself": LOOP,
    "deep list": DEEP,
    "deep dict": nested(lambda inner: {"username": inner}),
    "acl with a loop": [{"username": LOOP, "password": DEEP, "read": LOOP}],
    "acl with a huge id": {"scheme": "ip", "id": 10**400, "perms": "r"},
    "acl with a surrogate": {"\ud800": "\udfff"},
    "surrogate": "\ud800",
    "nul": "a\0b",
    "newline": "/a\nb",
    "long": "a" * 10**6,
    "range": range(3),
    "iterator": iter([1]),
    "exception": ValueError("x"),
}
WELL = {
    "path": "/p",
    "value": "v",
    "max_concurrency": 1,
    "acls": {"username": "u", "password": "p", "read": True},
    "keywords": {"username": "u", "password": "p", "read": True},
}
CONNECTION = [
    "profile",
    "scheme",
    "username",
    "password",
    "default_acl",
    "config",
    "config_get",
    "mechanism",
    "use_ssl",
]
CONNECTION += ["ca_certs", "certfile", "keyfile", "keyfile_password", "verify_certs"]
CONNECTION += ["session_timeout", "connect_timeout", "idle_timeout", "max_buffer"]
SETTINGS = ["hosts", "scheme", "username", "password", "default_acl", "session_timeout", "connect_timeout"]
NAMES = ("lock", "unlock", "lock_holders", "party_members", "status", "set_max", "hold", "Connection")
FUNCTIONS: dict[str, Callable[..., Any]] = {name: getattr(zkcoord, name) for name in NAMES}
FUNCTIONS |= {f"znode.{name}": getattr(znode, name) for name in znode.__all__}


def calls() -> Iterator[tuple[str, str]]:
    """Every argument of every function that users call."""
    for name, function in FUNCTIONS.items():
        for parameter in inspect.signature(function).parameters.values():
            names = CONNECTION if parameter.kind is parameter.VAR_KEYWORD else [parameter.name]
            yield from ((name, argument) for argument in names)


def well(name: str) -> dict[str, object]:
    """Arguments that are fine, and lead to nobody."""
    parameters = inspect.signature(FUNCTIONS[name]).parameters
    arguments = {key: WELL[key] for key, it in parameters.items() if it.default is it.empty and key in WELL}
    return {**arguments, "zk_hosts": NOBODY, "config_get": soon} if "zk_hosts" in parameters else arguments


def soon(key: str, default: object) -> object:
    """Settings that give up soon, in every profile."""
    return 0.02 if key.endswith(":connect_timeout") else default


def check(name: str, arguments: dict[str, object]) -> None:
    try:
        FUNCTIONS[name](**arguments)
    except errors.InternalError:
        raise
    except errors.Error as error:
        if len(str(error)) > LONGEST:
            raise


@pytest.mark.parametrize(("name", "argument"), list(calls()))
def test_an_argument(name, argument):
    for value in HOSTILE.values():
        if argument == "config_get" and callable(value):
            continue  # what it raises itself comes through
        if argument == "config" and isinstance(value, collections.abc.Mapping):
            continue  # likewise
        if argument == "timeout" and isinstance(value, int | float) and value > 60:
            continue  # that long, it looks for the servers
        check(name, well(name) | {argument: value})


@pytest.mark.parametrize("key", SETTINGS)
@pytest.mark.parametrize("name", ["lock", "unlock", "lock_holders", "party_members", "status", "znode.create"])
def test_a_setting(name, key):
    for value in HOSTILE.values():
        given = {f"zookeeper:{key}": value}
        arguments = well(name) | {
            "config_get": lambda key, default, given=given: given.get(key, default),
            "timeout": 0.02,
        }
        if key == "hosts":
            del arguments["zk_hosts"]
        check(name, arguments)


@pytest.mark.parametrize(
    "acl",
    [[{"username": LOOP, "password": "p", "read": True}], LOOP, DEEP, EndlessSequence(), LongList(["creator_all"])],
)
def test_an_acl_is_looked_at_one_level_deep(acl):
    with pytest.raises(errors.ArgumentError, match=r"^default_acl: "):
        zkcoord.lock("/p", NOBODY, default_acl=acl)


def test_a_length_is_not_believed():
    with pytest.raises(errors.Unreachable, match=NOBODY):
        zkcoord.lock("/p", LongList([NOBODY]), timeout=0.02)
    with pytest.raises(errors.ArgumentError, match=r"^zk_hosts: "):
        zkcoord.lock("/p", EndlessSequence(), timeout=0.02)


def test_what_is_too_long_is_refused_and_not_quoted():
    for argument in ("zk_hosts", "profile", "scheme", "username", "password", "identifier", "path"):
        arguments = well("lock") | {"username": "u", "password": "p"} | {argument: "x" * 10**6}
        with pytest.raises(errors.ArgumentError, match=rf"^{argument}: must not be longer than 65536 bytes$"):
            zkcoord.lock(**arguments)
