"""What is documented once is in the documentation of every function, for Salt, for `help()` and for the manual."""

from __future__ import annotations

import importlib
import inspect
import json
import pickle
import re
import subprocess

import pytest

from tests.support.salt import VERSIONS, bin_dir

MODULES = {
    "module": (
        "modules.zk_concurrency",
        "modules.zk_coordinator",
        "modules.zk_lease",
        "modules.zk_ensemble",
        "modules.zookeeper",
        "modules.ganeti_confd",
    ),
    "state": (
        "states.zk_concurrency",
        "states.zk_coordinator",
        "states.zk_lease",
        "states.zk_ensemble",
        "states.zookeeper",
        "states.ganeti_confd",
    ),
    "runner": (
        "runners.zk_concurrency",
        "runners.zk_coordinator",
        "runners.zk_lease",
        "runners.zk_ensemble",
        "runners.ganeti_confd",
    ),
}
EVERY = [name for names in MODULES.values() for name in names]


def public(name: str) -> dict[str, object]:
    """The functions that Salt finds in a file of ours."""
    module = importlib.import_module(f"saltext.zkcoord.{name}")
    functions = inspect.getmembers(module, lambda it: inspect.isfunction(it) and it.__module__ == module.__name__)
    return {f"{name.partition('.')[2]}.{it}": function for it, function in functions if not it.startswith("_")}


def described(documentation: str) -> list[str]:
    """The parameters of which a docstring tells, as often as it does."""
    headings = re.findall(r"^(\w+(?:, \w+)*)\n    ", inspect.cleandoc(documentation), re.M)
    return [name for heading in headings for name in heading.split(", ")]


@pytest.mark.parametrize("module", EVERY)
def test_each_parameter_is_documented_once(module):
    for name, function in public(module).items():
        parameters = list(inspect.signature(function).parameters)
        if name == "zk_lease.run":
            own = ["args", "fun", "fun_kwargs", "path", *described(public(module)["zk_lease.lock"].__doc__)]
            parameters = {*own} - {"reason"}
        if name == "zk_concurrency.run":  # it takes the others among its keywords, which Salt 3006 needs
            parameters = [
                "args",
                "fun",
                "fun_kwargs",
                "path",
                *described(public(module)["zk_concurrency.lock"].__doc__),
            ]
            parameters = {*parameters} - {"ephemeral_lease", "force"}
        assert sorted(described(function.__doc__)) == sorted(parameters), name


@pytest.mark.parametrize("module", EVERY)
def test_what_is_returned_and_what_becomes_of_errors_signals_and_lost_connections_comes_before_the_example(module):
    for name, function in public(module).items():
        told, found, _ = " ".join(function.__doc__.split()).partition(".. code-block::")
        assert found, name
        asks_nobody = ("zookeeper.make_acl", "zookeeper.make_digest_acl", "zk_lease.describe", "zk_lease.identity")
        if name in asks_nobody:
            continue
        wanted = ("result: False", "signal") if module.startswith("states") else ("Returns", "Raises", "Cancelled")
        # There is no connection to ganeti-confd, whose datagrams may be lost all the same.
        lost = "A datagram that is lost" if name.startswith("ganeti_confd.") else "When the connection is lost"
        assert [it for it in (*wanted, lost) if it not in told] == [], name
        assert "$" not in told, name


@pytest.mark.parametrize("module", EVERY)
def test_no_sentence_is_written_twice_in_the_source(module):
    source = inspect.getsource(importlib.import_module(f"saltext.zkcoord.{module}"))
    for shared in (
        "Authentication scheme",
        "User to authenticate as",
        "Raises ``SaltInvocationError``",
        "a chroot may",
    ):
        assert shared not in source


def test_it_is_the_same_function_with_the_same_arguments_and_it_pickles():
    from salt.utils.args import get_function_argspec
    from saltext.zkcoord.utils.documented import documented

    def function(path, zk_hosts=None, timeout=5, **security):
        """
        Do it.

        path
            Where.

        Returns nothing.

        CLI Example:

        .. code-block:: bash

            salt minion do.it
        """

    before = get_function_argspec(function), inspect.signature(function)
    assert documented("timeout", errors="read")(function) is function
    assert (get_function_argspec(function), inspect.signature(function)) == before
    assert not hasattr(function, "__wrapped__")
    blocks = [line for line in inspect.getdoc(function).splitlines() if line[:1].strip()]
    assert [block.split()[0] for block in blocks[:4]] == ["Do", "path", "timeout", "Returns"]
    assert blocks[-2:] == ["CLI Example:", ".. code-block:: bash"]
    for module in EVERY:
        for it in public(module).values():
            assert pickle.loads(pickle.dumps(it)) is it


def test_a_section_that_does_not_exist_is_found_out_at_once():
    from saltext.zkcoord.utils.documented import documented

    def function():
        """Do it."""

    for wrong in (documented("conection"), documented(errors="reed")):
        with pytest.raises(KeyError):
            wrong(function)
    function.__doc__ = None  # as with `python -OO`
    assert documented("connection")(function).__doc__ is None


# What Salt says of ours, on a master and on a minion alike; sys.argspec is what `salt` sends over the bus.
TELL = """
import json, sys, warnings
warnings.simplefilter("ignore")
import salt.config, salt.loader
opts = salt.config.minion_config(None)
opts.update(file_client="local", root_dir=sys.argv[1], cachedir=sys.argv[1], extension_modules=sys.argv[1], grains={})
here = {key: opts[key] for key in ("root_dir", "cachedir", "extension_modules")}
master = {**salt.config.master_config(None), **here}
modules = salt.loader.minion_mods(opts)
states = salt.loader.states(opts, modules, {}, {})
told = {"module": modules, "state": states, "runner": salt.loader.runner(master)}
from salt.utils.args import argspec_report
answer = {}
for kind, loader in told.items():
    ours = ("zk_concurrency", "zk_coordinator", "zk_lease", "zk_ensemble", "zookeeper", "ganeti_confd")
    names = [name for name in loader if name.partition(".")[0] in ours]
    answer[kind] = {name: [loader[name].__doc__, argspec_report(loader, name)[name]] for name in names}
for ask in ("sys.doc", "sys.runner_doc", "sys.state_doc"):
    answer[ask] = modules[ask]("zk_concurrency")
print(json.dumps(answer))
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_salts_loader_finds_the_same_functions_arguments_and_documentation(version, tmp_path):
    from salt.utils.args import argspec_report

    command = [str(bin_dir(version) / "python"), "-W", "ignore", "-c", TELL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    for kind, names in MODULES.items():
        ours = {name: function for module in names for name, function in public(module).items()}
        expected = {name: [function.__doc__, argspec_report(ours, name)[name]] for name, function in ours.items()}
        assert told[kind] == json.loads(json.dumps(expected))
    for ask, kind in {"sys.doc": "module", "sys.state_doc": "state", "sys.runner_doc": "runner"}.items():
        for name in public(f"{kind}s.zk_concurrency"):
            assert "Authentication scheme" in told[ask][name], (ask, name)


class TestRunner:
    """Its functions are those of the execution module, in another place."""

    @pytest.fixture
    def both(self):
        """Pairs of a function of the execution module and the runner's."""
        module, runner = public("modules.zk_concurrency"), public("runners.zk_concurrency")  # zk_lease's are its own
        return [(module[name], runner[name]) for name in runner if name in module]

    def test_the_code_is_the_same_and_all_that_it_uses_is_there(self, both):
        assert {function.__name__ for function, _ in both} == {
            *("lock", "unlock", "lock_holders", "party_members", "status", "set_max", "pools", "remove_pool"),
            *("evict", "party_join", "party_leave"),
        }
        for function, ours in both:
            assert ours.__code__ is function.__code__
            assert ours is not function
            dunders = {"__salt__", "__opts__", "__context__"}
            used = inspect.getclosurevars(ours).unbound
            assert not {name for name in used if name.startswith("_")} - dunders, "Salt brings these, and nothing else"

    def test_the_documentation_is_the_same_but_for_the_words_that_are_of_minions(self, both):
        from saltext.zkcoord.runners import zk_concurrency

        for _, ours in both:
            assert "salt minion" not in ours.__doc__
            assert "host's name" not in ours.__doc__
            assert "SaltInvocationError" not in ours.__doc__
            assert f"        salt-run zk_concurrency.{ours.__name__} /lock/path" in ours.__doc__
        everything = " ".join(" ".join(function.__doc__.split()) for function, _ in both)
        assert [old for old in zk_concurrency._WORDS if old not in everything] == []

    def test_one_more_is_a_line(self):
        from saltext.zkcoord.utils.exposed import exposed

        def answer(path, times=2, *, loud=False):
            """
            Say it.

            CLI Example: salt minion it.answer
            """
            return _say(path) * times, loud  # noqa: F821 - of the module that it is put into

        there = {"__name__": "it", "_say": str.upper}
        ours = exposed(answer, there, {"salt minion": "salt-run"}, remark="Loudly.")
        assert ours("a", loud=True) == ("AA", True)
        assert (ours.__module__, ours.__globals__) == ("it", there)
        assert inspect.signature(ours) == inspect.signature(answer)
        assert inspect.getdoc(ours) == "Say it.\n\nLoudly.\n\nCLI Example: salt-run it.answer"
