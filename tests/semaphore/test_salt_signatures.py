"""The signatures: the four functions are the documented ones, in the native module and in Salt's, and what is ours."""

from __future__ import annotations

import inspect
import pickle
import re
from inspect import Parameter
from types import SimpleNamespace

import pytest
import zkcoord
from zkcoord.errors import ArgumentError

# As Salt's documentation has them.
DOCUMENTED = {
    "lock": (
        "(path, zk_hosts=None, identifier=None, max_concurrency=1, timeout=None, ephemeral_lease=False, "
        "force=False, profile=None, scheme=None, username=None, password=None, default_acl=None)"
    ),
    "lock_holders": (
        "(path, zk_hosts=None, identifier=None, max_concurrency=1, timeout=None, ephemeral_lease=False, "
        "profile=None, scheme=None, username=None, password=None, default_acl=None)"
    ),
    "party_members": (
        "(path, zk_hosts=None, min_nodes=1, blocking=False, "
        "profile=None, scheme=None, username=None, password=None, default_acl=None)"
    ),
    "unlock": (
        "(path, zk_hosts=None, identifier=None, max_concurrency=1, ephemeral_lease=False, "
        "scheme=None, profile=None, username=None, password=None, default_acl=None)"
    ),
}
ADDED = {"lock": set(), "lock_holders": set(), "party_members": {"timeout"}, "unlock": {"timeout"}}
ADDED_BY_SALT = {**ADDED, "lock": {"reason"}, "unlock": {"timeout", "reason"}}
SECURITY = {"mechanism", "use_ssl", "ca_certs", "certfile", "keyfile", "keyfile_password", "verify_certs"}
ADDED_NATIVE = {"cancel", "connection", "raise_on_signal", "security"}

# What we add to the four.
CONNECTION = ["zk_hosts", "profile", "scheme", "username", "password", "default_acl"]
OURS = {
    "status": ["path", *CONNECTION, "timeout", "security"],
    "set_max": ["path", "max_concurrency", *CONNECTION, "timeout", "security"],
    "pools": ["root", *CONNECTION, "timeout", "security"],
    "remove_pool": ["path", *CONNECTION, "timeout", "security"],
    "evict": ["path", "identifier", "reason", "zk_hosts", "by", *CONNECTION[1:], "timeout", "security"],
    "party_join": ["path", "zk_hosts", "identifier", "ephemeral", "shallow", *CONNECTION[1:], "timeout", "security"],
    "party_leave": ["path", "zk_hosts", "identifier", *CONNECTION[1:], "timeout", "security"],
    "run": [
        "path",
        "fun",
        "args",
        "zk_hosts",
        "identifier",
        "max_concurrency",
        "timeout",
        "fun_kwargs",
        "reason",
        *CONNECTION[1:],
        "security",
    ],
}


# For each parameter something that no function takes for it. The error then names the parameter that got it.
REFUSED = {
    "path": "/a/../b",
    "zk_hosts": "host:port",
    "identifier": ["a", "list"],
    "max_concurrency": 0,
    "min_nodes": -1,
    "timeout": -1,
    "ephemeral_lease": "perhaps",
    "force": "perhaps",
    "blocking": "perhaps",
    "profile": ["a", "list"],
    "scheme": "carrier-pigeon",
    "username": "a name without a password",
    "password": "a password without a name",
    "default_acl": 5,
}

FUNCTIONS = sorted(DOCUMENTED)


def names(function: str) -> list[str]:
    return [part.split("=")[0].strip() for part in DOCUMENTED[function].strip("()").split(",")]


POSITIONS = [(function, name) for function in FUNCTIONS for name in names(function)]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_native_function_is_the_documented_one_and_what_it_adds_is_keyword_only(function):
    signature = inspect.signature(getattr(zkcoord, function))
    parameters = signature.parameters.values()
    parameters = [parameter.replace(annotation=Parameter.empty) for parameter in parameters]
    signature = signature.replace(return_annotation=Parameter.empty)
    ours = (Parameter.KEYWORD_ONLY, Parameter.VAR_KEYWORD)
    added = {parameter.name for parameter in parameters if parameter.kind in ours}
    documented = [parameter for parameter in parameters if parameter.name not in added]
    assert str(signature.replace(parameters=documented)) == DOCUMENTED[function]
    assert added >= ADDED[function] | ADDED_NATIVE


# Of which kind the additions have to be is for Salt to say, in salt/test_loader.py and test_salt_state_runs.py.
@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_salt_function_is_the_documented_one_and_what_it_adds_comes_last(function, shim):
    signature = inspect.signature(getattr(shim, function))
    *parameters, security = signature.parameters.values()
    assert (security.name, security.kind) == ("security", Parameter.VAR_KEYWORD)
    count = len(names(function))
    assert str(signature.replace(parameters=parameters[:count])) == DOCUMENTED[function]
    assert {parameter.name for parameter in parameters[count:]} == ADDED_BY_SALT[function]
    assert all(parameter.default is None for parameter in parameters[count:])


@pytest.mark.parametrize(("function", "name"), POSITIONS)
def test_an_argument_by_position_is_the_parameter_that_the_documentation_has_there(
    function, name, shim, invocation_error
):
    given = {"path": "/lock/web", name: REFUSED[name]}
    arguments = [given.get(each) for each in names(function)]
    with pytest.raises(ArgumentError, match=f"^{name}: "):
        getattr(zkcoord, function)(*arguments, config_get=lambda _, default: default)
    with pytest.raises(invocation_error, match=f"^{name}: "):
        getattr(shim, function)(*arguments)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_salt_function_tells_its_parameters_and_has_a_cli_example(function, shim):
    documentation = inspect.getdoc(getattr(shim, function)) or ""
    told = {name for line in re.findall(r"^(\w+(?:, \w+)*)\n    ", documentation, re.M) for name in line.split(", ")}
    assert told >= {*names(function), *ADDED_BY_SALT[function], "security"}
    _, example = documentation.split("CLI Example:\n\n.. code-block:: bash\n\n")
    assert example.startswith(f"    salt minion zk_concurrency.{function} /lock/path ")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_argument_specification_survives_pickling(function, shim):
    from salt.utils.args import argspec_report

    name = f"zk_concurrency.{function}"
    report = argspec_report({name: getattr(shim, function)}, name)
    assert report[name]["args"][: len(names(function))] == names(function)
    assert pickle.loads(pickle.dumps(report)) == report


def test_salt_finds_the_four_functions_and_those_that_we_add(shim):
    own = inspect.getmembers(shim, lambda it: inspect.isfunction(it) and it.__module__ == shim.__name__)
    assert [name for name, _ in own if not name.startswith("_")] == sorted({*FUNCTIONS, *OURS})


def test_the_file_and_the_module_have_the_name_of_the_stock_module(shim):
    assert shim.__virtual__() == "zk_concurrency" == shim.__name__.rpartition(".")[2]


class TestSignatures:
    @pytest.mark.parametrize("function", OURS)
    def test_the_parameters_are_documented_and_the_examples_are_calls(self, shim, function):
        parameters = list(inspect.signature(getattr(shim, function)).parameters)
        # What is by position in a `module.run` of the old style must not be one of `run`'s own.
        assert parameters == (["path", "fun", "args", "kwargs"] if function == "run" else OURS[function])
        documentation = inspect.getdoc(getattr(shim, function))
        headings = re.findall(r"^(\w+(?:, \w+)*)\n    ", documentation, re.M)
        assert {name for heading in headings for name in heading.split(", ")} == {*OURS[function]}
        _, examples = documentation.split("CLI Example:\n\n.. code-block:: bash\n\n")
        assert all(line.startswith(f"    salt minion zk_concurrency.{function} /") for line in examples.splitlines())

    def test_run_takes_every_keyword_that_it_documents(self, shim, monkeypatch, called, root, config):
        from saltext.zkcoord.utils import client

        shim.__salt__["test.nothing"] = lambda: None
        hold = SimpleNamespace(path=root, identifier="a", release=lambda timeout: called.append("released") or True)
        monkeypatch.setattr(client.zkcoord, "hold", lambda path, **kw: called.append({"path": path, **kw}) or hold)
        named = (*OURS["run"][3:-1], *client.SECURITY)
        given = {name: f"the {name}" for name in named if name != "fun_kwargs"}
        shim.run(root, "test.nothing", fun_kwargs={}, __pub_jid="17", **given)
        held, released = called
        fixed = {"path": root, "ephemeral_lease": True, "raise_on_signal": True, "config": {}, "job": "17"}
        assert held == {**given, **fixed}
        assert released == "released"
