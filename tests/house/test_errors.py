"""The classes of errors: where Python has one for what went wrong, ours is one of it; the text is the message."""

import copy
import pickle

import pytest
from zkcoord import errors, hold, lock, lock_holders, unlock

OF_PYTHON = {
    "ArgumentError": ValueError,
    "AuthFailed": PermissionError,
    "ConfdClientError": ValueError,
    "ConnectionLost": ConnectionError,
    "LimitMismatch": ValueError,
    "NoAuth": PermissionError,
    "OutOfResources": OSError,
    "ReconfigForbidden": PermissionError,
    "PolicyMismatch": ValueError,
    "TimedOut": TimeoutError,
    "TlsFailed": ConnectionError,
    "TooFewReplies": TimeoutError,
    "UnknownEntry": LookupError,
    "Unreachable": ConnectionError,
}


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - {"Error"}))
def test_errors_are_under_one_base_and_survive_pickling(name):
    error = getattr(errors, name)("a message", "/a/path")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, errors.Error)
    assert type(again) is type(error)
    assert (str(again), again.path, again.kind) == ("a message", "/a/path", error.kind)
    assert copy.copy(error).path == "/a/path"


def test_kinds_are_distinct():
    kinds = [getattr(errors, name).kind for name in errors.__all__]
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize("name", OF_PYTHON)
def test_it_is_one_of_pythons(name):
    with pytest.raises(OF_PYTHON[name]) as caught:
        raise getattr(errors, name)("a message", "/a/path")
    assert isinstance(caught.value, errors.Error)


@pytest.mark.parametrize("name", errors.__all__)
def test_its_text_is_its_message(name):
    """`OSError` would show two arguments in a way of its own."""
    for message in ("a message", "", "né\n"):
        error = getattr(errors, name)(message, "/a/path")
        assert str(error) == f"{error}" == message
        assert error.path == "/a/path"
    assert getattr(errors, name)("a message").path is None


def test_only_those_of_python_are():
    for name in errors.__all__:
        builtin = [it for it in getattr(errors, name).__mro__ if it.__module__ == "builtins"]
        expected = OF_PYTHON.get(name, Exception)
        assert builtin[0] is expected, name


def test_they_are_raised_so(hosts, root):
    with pytest.raises(ConnectionError, match="no ZooKeeper server answered"):
        lock_holders(root, "127.0.0.1:1", timeout=0.2)
    with pytest.raises(ValueError, match=r"^timeout: "):
        lock(root, hosts, timeout="soon")
    lock(root, hosts, identifier="a")
    with pytest.raises(ValueError, match=r"\b1\b.*\b5\b"):
        lock(root, hosts, identifier="b", max_concurrency=5)
    with pytest.raises(TimeoutError, match="held by 'a'") as caught:
        hold(root, hosts, identifier="b", timeout=0)
    assert str(caught.value) == f"no slot at {root} within 0 s, held by 'a'"
    own = {"username": "ann", "password": "pw", "default_acl": {"username": "ann", "password": "pw", "allperms": True}}
    lock(f"{root}-ann", hosts, identifier="a", **own)
    with pytest.raises(PermissionError, match=f"read {root}-ann as anonymous"):
        unlock(f"{root}-ann", hosts, identifier="a")


def test_the_holders_that_are_named_may_be_many(hosts, root):
    options = {"max_concurrency": 2, "timeout": 0}
    both = [hold(root, hosts, identifier=name, **options) for name in "ba"]
    with pytest.raises(errors.TimedOut, match=r"held by 'a', 'b'$"):
        hold(root, hosts, identifier="c", **options)
    assert [each.release() for each in both] == [True, True]
