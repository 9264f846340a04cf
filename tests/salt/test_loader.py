"""Salt's loader takes our module and not its own, on every supported Salt, with kazoo installed beside us."""

from __future__ import annotations

import inspect
import json
import subprocess

import pytest

from tests.support.salt import LONG, VERSIONS, bin_dir


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture
def salt(version, minionless, hosts):
    return minionless(version, zookeeper={"hosts": hosts, "session_timeout": LONG})


def public(module) -> list[str]:
    functions = inspect.getmembers(module, inspect.isfunction)
    own = (name for name, function in functions if function.__module__ == module.__name__)
    return [f"zk_concurrency.{name}" for name in own if not name.startswith("_")]


def test_the_rival_is_there_and_would_serve(version):
    code = "from salt.modules import zk_concurrency as it; it.__context__ = {}; print(it.__virtual__())"
    command = [str(bin_dir(version) / "python"), "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "zk_concurrency\n"


def test_the_functions_and_their_documentation_are_ours(salt, shim):
    functions = salt.start("sys.list_functions", "zk_concurrency")
    documentation = salt.start("sys.doc", "zk_concurrency")
    assert functions.answer().value == public(shim)
    told = documentation.answer().value
    assert sorted(told) == public(shim)
    for name, text in told.items():
        own = getattr(shim, name.partition(".")[2]).__doc__
        assert text.split() == own.replace(".. code-block:: bash", "").split()


@pytest.mark.parametrize("first", ["lazy", "all"])
def test_a_call_is_ours_before_and_after_the_loader_has_looked_at_everything(salt, shim, root, tmp_path, first):
    # Of a slot that nobody holds the stock module says that it was given back.
    call = f'salt["zk_concurrency.unlock"]("{root}")'
    everything = 'salt["sys.list_functions"]("zk_concurrency")'
    answers = [everything, call] if first == "all" else [call, everything, call]
    (tmp_path / "calls").write_text("".join(f"{{{{ {answer} | json }}}}\n" for answer in answers))
    answer = salt.salt_call("slsutil.renderer", str(tmp_path / "calls"), default_renderer="jinja")
    expected = [public(shim) if answer == everything else False for answer in answers]
    assert [json.loads(line) for line in str(answer.value).splitlines()] == expected


def test_what_we_add_can_be_given_on_the_command_line(salt, root):
    unlock = salt.start("zk_concurrency.unlock", root, timeout=5)
    members = salt.start("zk_concurrency.party_members", root, blocking=True, timeout=0)
    assert unlock.answer().outcome == (1, False)
    assert members.answer().outcome == (0, [])


def test_without_the_native_core_nobody_serves_and_salt_says_why(salt, root, tmp_path):
    broken = tmp_path / "broken" / "zkcoord"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('the wrong machine')")
    answer = salt.salt_call("zk_concurrency.lock", root, env={"PYTHONPATH": str(broken.parent)})
    assert (answer.code == 0, answer.value) == (False, None)
    reason = "zkcoord, its native core, cannot be imported (the wrong machine)"
    assert f"'zk_concurrency' __virtual__ returned False: {reason}" in answer.stderr
