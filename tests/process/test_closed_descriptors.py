"""A program closes all file descriptors of its process, as daemons do, and those of zkcoord are among them."""

import re
import textwrap

import pytest

CLOSE = """
def close_all():
    os.closerange(3, 4096)

def said(function, *args, **kwargs):
    try:
        answer = function(*args, **kwargs)
    except zkcoord.errors.Error as err:
        print(type(err).__name__, str(err), flush=True)
    except BaseException as err:
        print("no error of ours:", type(err).__mro__, err, flush=True)
    else:
        print(answer, flush=True)
"""


@pytest.fixture
def script(script):
    """As ever, with these functions, and with sessions that are soon over once their connections are closed."""
    return lambda code, **names: script(CLOSE + textwrap.dedent(code), session_timeout=3, **names)


def test_what_was_lost_is_told_once_and_the_next_call_begins_anew(script, root):
    process = script(
        """
        zkcoord.lock(root, **at, identifier="me", ephemeral_lease=True, timeout=5)
        close_all()
        for _ in range(2):
            said(zkcoord.lock_holders, root, **at, timeout=5)
        said(zkcoord.lock, root + "-other", **at, identifier="me", timeout=5)
        """
    )
    told = process.line()
    assert told.startswith("ConnectionLost the file descriptors of this process were closed")
    assert re.search(rf"within 3\.0 s, and until then it is still there: {root}/[0-9a-f]{{32}}\. The next call", told)
    assert process.result() == "['me']\nTrue"
    assert process.stderr == ""


def test_where_nothing_was_lost_the_call_is_answered(script, root):
    process = script(
        """
        zkcoord.lock(root, **at, identifier="me", timeout=5)
        close_all()
        said(zkcoord.lock_holders, root, **at, timeout=5)
        close_all()
        said(zkcoord.unlock, root, **at, identifier="me", timeout=5)
        """
    )
    assert process.result() == "['me']\nTrue"
    assert process.stderr == ""


def test_a_hold_is_given_back_by_its_name(script, root, zk):
    process = script(
        """
        with zkcoord.hold(root, **at, identifier="me") as hold:
            close_all()
            said(zkcoord.lock_holders, root, **at)
            said(hold.check)
            said(hold.release)
        """
    )
    assert process.line().startswith("ConnectionLost")
    assert process.result() == "None\nTrue"
    assert process.stderr == ""
    assert zk.get_children(root) == []


def test_whoever_watches_a_hold_is_told(script, root):
    process = script(
        """
        lost = threading.Event()
        hold = zkcoord.hold(root, **at, identifier="me", on_lost=lost.set)
        time.sleep(0.5)
        close_all()
        print(lost.wait(20), flush=True)
        """
    )
    assert process.result() == "True"
    assert "panicked" not in process.stderr
    assert "counts as lost: the file descriptors" in process.stderr


def test_a_timed_lease_that_is_renewed_no_more_is_lost(script, root):
    process = script(
        """
        from zkcoord.lease import LeaseLocker
        lost = threading.Event()
        locker = LeaseLocker(root.lower() + "/lease", "a", **at, lease_duration=600, on_lost=lost.set)
        locker.lock()
        token = locker.fencing_token
        time.sleep(0.5)  # its own thread has taken over
        close_all()
        print(lost.wait(20), locker.held, locker.fencing_token, flush=True)
        print(locker.lock(20), locker.fencing_token > token, locker.unlock(), flush=True)
        """
    )
    assert process.result(60) == "True False None\nTrue True True"


@pytest.mark.parametrize("waits_for", [2, 8])
def test_files_that_get_the_numbers_are_neither_written_to_nor_closed(script, root, tmp_path, waits_for):
    """The runtime's thread wakes up for heartbeats, and would write them into whatever file has the number by now."""
    process = script(
        """
        zkcoord.lock(root, **at, identifier="me", ephemeral_lease=True, timeout=5)
        time.sleep(1.5)  # its own thread has taken over
        close_all()
        files = [open(f"{folder}/{number}", "w") for number in range(20)]
        time.sleep(waits_for)
        said(zkcoord.lock_holders, root, **at, timeout=5)
        zkcoord.Cancel().cancel()
        zkcoord.close()
        for file in files:
            file.write("mine")
            file.close()
        """,
        folder=str(tmp_path),
        waits_for=waits_for,
    )
    assert process.line().startswith("ConnectionLost")
    assert process.result() == ""
    assert process.stderr == ""
    assert [(tmp_path / str(number)).read_bytes() for number in range(20)] == [b"mine"] * 20


def test_a_wait_in_another_thread_ends_with_an_error(script, root, zk, wait_until):
    zk.create(f"{root}/somebody", makepath=True)
    process = script(
        """
        waiter = threading.Thread(target=said, args=(zkcoord.lock, root), kwargs=at)
        waiter.start()
        print("begun", flush=True)
        time.sleep(1.5)
        close_all()
        waiter.join(20)
        print(waiter.is_alive(), zkcoord.lock_holders(root, **at), flush=True)
        """
    )
    assert process.line() == "begun"
    assert process.line().startswith("ConnectionLost the file descriptors")
    assert process.line() == "False ['']"
    assert process.wait() == 0
    assert "panicked" not in process.stderr


def test_a_cancel_that_was_given_to_a_lost_wait_still_works(script, root, zk):
    zk.create(f"{root}/somebody", makepath=True)
    process = script(
        """
        cancel = zkcoord.Cancel()
        waiter = threading.Thread(target=said, args=(zkcoord.lock, root), kwargs={"cancel": cancel, **at})
        waiter.start()
        time.sleep(1)
        close_all()
        said(zkcoord.lock_holders, root, **at)
        cancel.cancel()
        said(zkcoord.lock, root, **at, cancel=cancel)
        waiter.join(20)
        """
    )
    lines = process.result(60).splitlines()
    assert "['']" in lines
    assert any(line.startswith("Cancelled") for line in lines)
    assert "panicked" not in process.stderr


def test_a_child_that_closes_all_leaves_its_parent_alone(script, root):
    process = script(
        """
        zkcoord.lock(root, **at, identifier="me", ephemeral_lease=True, timeout=5)
        if not (child := os.fork()):
            close_all()
            said(zkcoord.lock_holders, root, **at, timeout=5)
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
        said(zkcoord.unlock, root, **at, identifier="me", ephemeral_lease=True)
        """
    )
    assert process.result() == "['me']\nTrue"
    assert process.stderr == ""


def test_a_parent_that_has_closed_all_forks(script, root):
    process = script(
        """
        zkcoord.lock(root, **at, identifier="me", ephemeral_lease=True, timeout=5)
        close_all()
        if not (child := os.fork()):
            said(zkcoord.lock_holders, root, **at, timeout=5)
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
        said(zkcoord.lock_holders, root, **at, timeout=5)
        """
    )
    assert process.line() == "['me']", "what its parent has lost is not the child's"
    assert process.result().startswith("ConnectionLost")
    assert process.stderr == ""
