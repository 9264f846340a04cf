"""The process has no file descriptor left, may start no thread, or has no memory for a stack: its errors."""

import os
import textwrap

import pytest

PRELUDE = """
import resource

def fill():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", 0))
    except OSError:
        return held

def no_more_threads():
    os.setgid(65534)
    os.setuid(65534)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))

def said(function, *args, **kwargs):
    try:
        print(function(*args, **kwargs), flush=True)
    except zkcoord.errors.Error as err:
        print(type(err).__name__, err.kind, str(err), flush=True)
"""
NO_DESCRIPTOR = "Too many open files"
NO_THREAD = "Resource temporarily unavailable"


@pytest.fixture
def script(script):
    """As ever, with these functions."""
    return lambda code, **names: script(PRELUDE + textwrap.dedent(code), **names)


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="whoever is not root has threads of other processes to count")


def test_no_descriptor_at_the_first_call_and_some_later(script, root, hosts):
    process = script(
        """
        held = fill()
        said(zkcoord.lock_holders, root, hosts)
        for number in held: os.close(number)
        said(zkcoord.lock_holders, root, hosts)
        """
    )
    told = process.line()
    assert told.startswith("OutOfResources resources cannot open a connection: Too many open files")
    assert "ulimit -n" in told
    assert process.result() == "[]"
    assert process.stderr == ""


def test_no_descriptor_for_another_session(script, root, hosts):
    process = script(
        """
        zkcoord.lock_holders(root, hosts)
        held = fill()
        said(zkcoord.lock_holders, root, hosts, session_timeout=9, timeout=1)
        said(zkcoord.lock_holders, root, hosts)
        for number in held: os.close(number)
        said(zkcoord.lock_holders, root, hosts, session_timeout=9)
        """
    )
    told = process.line()
    assert told.startswith("Unreachable")
    assert NO_DESCRIPTOR in told
    assert process.result() == "[]\n[]"
    assert process.stderr == ""


def test_a_wait_goes_on_when_there_are_descriptors_again(script, proxies, root, zk):
    zk.create(f"{root}/somebody", makepath=True)
    process = script(
        """
        waiter = threading.Thread(target=said, args=(zkcoord.lock, root, proxied), kwargs={"identifier": "w"})
        waiter.start()
        while not zkcoord.status(root, proxied)["waiters"]: time.sleep(0.05)
        held = fill()
        print("full", flush=True)
        time.sleep(3)
        for number in held: os.close(number)
        waiter.join()
        """,
        proxied=proxies.hosts,
    )
    assert process.line() == "full"
    for proxy in proxies:
        proxy.cut()
    zk.delete(f"{root}/somebody")
    assert process.result() == "True"
    assert process.stderr == ""


@root_only
@pytest.mark.parametrize("named", ["127.0.0.1", "localhost"])
def test_no_thread_at_the_first_call(script, root, hosts, named):
    process = script(
        """
        no_more_threads()
        said(zkcoord.lock_holders, root, hosts, timeout=2)
        """,
        hosts=hosts.replace("127.0.0.1", named),
    )
    told = process.result()
    assert NO_THREAD in told
    assert told.startswith("OutOfResources resources cannot start a thread")
    assert process.stderr == ""


@root_only
def test_no_thread_for_a_name_and_for_certificates(script, root, hosts, secure, tls, tmp_path):
    process = script(
        """
        zkcoord.lock_holders(root, hosts)
        keys = {name: tls[name] for name in ("ca_certs", "certfile", "keyfile")}
        no_more_threads()
        said(zkcoord.lock_holders, root, hosts.replace("127.0.0.1", "localhost"), timeout=2)
        said(zkcoord.lock_holders, root, secure, timeout=5, **tls)
        """,
        secure=secure.secure_hosts,
        tls=_readable(tls, tmp_path),
    )
    told = process.line()
    assert told.startswith("Unreachable")
    assert NO_THREAD in told
    assert process.result() == "[]", "files are read without a thread of their own"
    assert process.stderr == ""


def _readable(tls, tmp_path):
    """The same files for a user that is nobody."""
    folder = tmp_path
    for parent in (folder, *folder.parents):
        if parent != parent.parent and parent.stat().st_uid == os.geteuid():
            parent.chmod(parent.stat().st_mode | 0o055)
    copies = dict(tls)
    for name in ("ca_certs", "certfile", "keyfile"):
        copy = folder / name
        with open(str(tls[name]), "rb") as file:
            copy.write_bytes(file.read())
        copy.chmod(0o644)
        copies[name] = str(copy)
    return copies


@root_only
@pytest.mark.parametrize("how", ["hold", "lock"])
def test_no_thread_to_watch_a_slot_gives_it_back(script, root, hosts, how, zk):
    process = script(
        """
        zkcoord.lock_holders(root, hosts)
        no_more_threads()
        said(getattr(zkcoord, how), root, hosts, on_lost=print)
        """,
        how=how,
    )
    told = process.result()
    assert told.startswith("OutOfResources resources cannot start a thread")
    assert NO_THREAD in told
    assert zk.get_children(root) == []


@root_only
def test_no_thread_for_a_call_of_asyncio(script, root, hosts):
    process = script(
        """
        import asyncio
        import zkcoord.aio
        zkcoord.lock_holders(root, hosts)
        no_more_threads()

        async def main():
            try:
                await zkcoord.aio.lock_holders(root, hosts)
            except zkcoord.errors.OutOfResources as err:
                print(err)

        asyncio.run(main())
        """
    )
    assert NO_THREAD in process.result()


def test_no_memory_for_a_stack(script, root, hosts):
    process = script(
        """
        size = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (size + 600 * 1024, size + 600 * 1024))
        said(zkcoord.lock_holders, root, hosts, timeout=2)
        """
    )
    told = process.result()
    assert told.startswith("OutOfResources")
    assert "no memory for a stack" in told
    assert process.stderr == ""
