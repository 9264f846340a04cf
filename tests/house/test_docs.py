"""What the documentation shows runs: its command lines on a real ensemble, its YAML through Salt."""

import inspect
import json
import re
import shlex
import subprocess
import sys
import textwrap
import uuid
from pathlib import Path

import pytest
import yaml
from zkcoord.testing import ConfdServers

from tests.support.calls import together
from tests.support.forked_salt import run_all

ROOT = Path(__file__).parents[2]
NAMES = ("zk_concurrency", "zookeeper", "zk_coordinator", "zk_lease", "zk_ensemble", "ganeti_confd")
EXAMPLES = [
    ROOT / f"examples/{name}/README.md"
    for name in ("coordinated-restart", "ensemble-restart", "ganeti-nodes", "one-deployer", "rolling-restart")
]
PAGES = [ROOT / "README.md", *EXAMPLES, *sorted((ROOT / "docs").glob("*.rst"))]
SETTINGS = {
    *("hosts", "scheme", "username", "password", "default_acl", "session_timeout", "connect_timeout", "events"),
    *("idle_timeout", "max_buffer"),
    *("mechanism", "use_ssl", "ca_certs", "certfile", "keyfile", "keyfile_password", "verify_certs"),
}
CONFD_SETTINGS = {"peers", "hmac_key_file", "hmac_key", "port", "coverage", "timeout", "grains", "grains_ttl", "node"}
# They are in the example's own test, with a master and four minions.
NEED_A_FLEET = {
    "cmd.run",
    "jobs.active",
    "saltutil.refresh_pillar",
    "saltutil.term_job",
    "state.apply",
    "state.event",
    "state.orchestrate",
}
COMPLAINTS = ("Traceback", "is not available", "Passed invalid arguments", "Error running", "did not return")


def commands(page):
    """The Salt commands of a page, as argument lists, in order."""
    lines = re.findall(r"^\s+\$? ?(salt(?:-call|-run)? .*)$", page.read_text(), re.M)
    # A command of several lines begins with a quote that its own line does not end.
    return [shlex.split(line, comments=True) for line in lines if line.count("'") % 2 == 0]


def function_calls(page):
    """(program, arguments from the function's name on) of those that call a function."""
    found = []
    for program, *arguments in commands(page):
        start = next((n for n, argument in enumerate(arguments) if re.fullmatch(r"[a-z_]+\.[a-z_]+", argument)), None)
        if start is not None:
            found.append((program, arguments[start:]))
    return found


def yaml_blocks(page):
    text = page.read_text()
    fenced = re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)
    directives = re.findall(r"^( *)\.\. code-block:: yaml\n\n((?:\1   .*\n|\n)+)", text, re.M)
    return [textwrap.dedent(block) for block in fenced + [body for _, body in directives]]


def salt_directory(tmp_path_factory, ensemble, confd):
    """A masterless minion and a master, both of which know the ensemble and the servers of a Ganeti cluster.

    Only one command at a time may use it.
    """
    directory = tmp_path_factory.mktemp("salt")
    common = {
        "root_dir": str(directory / "root"),
        "file_roots": {"base": [str(directory / "states")]},
        "zookeeper": {
            "hosts": ensemble.hosts,
            "restart": {"hosts": ensemble.hosts},
            "deploy": {"hosts": ensemble.hosts},
            "operators": {"hosts": ensemble.hosts, "username": "operators", "password": "secret"},
            "nodes": {"hosts": ensemble.hosts},
        },
        "ganeti_confd": {"peers": confd.peers, "port": confd.port, "hmac_key_file": str(confd.hmac_key_file)},
    }
    (directory / "states").mkdir()
    (directory / "root/var/cache/salt/master/proc").mkdir(parents=True)  # the master makes it when it starts
    (directory / "minion").write_text(json.dumps(common | {"id": "web1", "file_client": "local"}))
    (directory / "master").write_text(json.dumps(common))
    return directory


def command(directory, program, arguments):
    """What is run in place of one of Salt's commands: without a master, and on the page's own configuration."""
    programs = {"salt-run": ["salt-run"], "salt-call": ["salt-call", "--local"], "salt": ["salt-call", "--local"]}
    return [*programs[program], "-c", str(directory), *map(str, arguments)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory, ensemble):
    """Every page tried, two at once: of each, what its command lines and its states have come to."""

    def calls_of(page, directory):
        root = f"/docs-{uuid.uuid4().hex[:8]}"
        for program, (function, *arguments) in function_calls(page):
            if function in NEED_A_FLEET:
                continue
            own = [re.sub(r"^/(?=\w)", f"{root}/", argument) for argument in arguments]
            own = [re.sub(r"^\S*host1:\S+$", ensemble.hosts, argument) for argument in own]
            yield (function, own), command(directory, program, [function, *own])

    def states_of(page, directory):
        for number, block in enumerate(yaml_blocks(page)):
            if {"zookeeper", "ganeti_confd"} & yaml.safe_load(block).keys():
                continue
            root = f"/docs-{uuid.uuid4().hex[:8]}"
            if "schedule" in block:
                yield from ((block, scheduled) for scheduled in schedule_of(block, directory))
                continue
            name = f"{page.stem}-{number}".replace(".", "-")
            (directory / f"states/{name}.sls").write_text(re.sub(r"(name: )/(?=\w)", rf"\1{root}/", block))
            yield block, command(directory, "salt-call", ["--retcode-passthrough", "state.apply", name])

    def schedule_of(block, directory):
        for job in yaml.safe_load(block)["schedule"].values():
            arguments = {**job["kwargs"], "textfile": directory / "zkcoord.prom"}
            yield command(directory, "salt-run", [job["function"], *(f"{name}={it}" for name, it in arguments.items())])

    def tried(page):
        directory = salt_directory(tmp_path_factory, ensemble, confd)
        calls, states = list(calls_of(page, directory)), list(states_of(page, directory))
        ended = iter(run_all([run for _, run in calls + states]))
        return tuple([(it, next(ended)) for it, _ in shown] for shown in (calls, states))

    tmp_path_factory.getbasetemp()  # made by two at once, it would be there already for one of them
    with ConfdServers(3) as confd:
        return together(tried, PAGES, at_once=2)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_command_lines_run(page, pages):
    for command, (code, output) in pages[page].result()[0]:
        assert code in (0, 1), (command, output)
        assert not [complaint for complaint in COMPLAINTS if complaint in output], (command, output)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_yaml_is_states_that_succeed_or_settings_that_exist(page, pages):
    for block in yaml_blocks(page):
        settings = yaml.safe_load(block).get("zookeeper", {})
        profiles = [value for key, value in settings.items() if key not in SETTINGS]
        for keys in (set(settings) - {key for key in settings if key not in SETTINGS}, *map(set, profiles)):
            assert keys <= SETTINGS, (page, keys)
        assert yaml.safe_load(block).get("ganeti_confd", {}).keys() <= CONFD_SETTINGS, page
    for block, (code, output) in pages[page].result()[1]:
        assert code == 0, (block, output)


@pytest.mark.parametrize(
    "module",
    [
        *(f"modules.{name}" for name in NAMES),
        *(
            f"runners.{name}"
            for name in ("zk_concurrency", "zk_coordinator", "zk_lease", "zk_ensemble", "ganeti_confd")
        ),
    ],
)
def test_every_function_has_an_example_that_fits_its_signature(module):
    loaded = __import__(f"saltext.zkcoord.{module}", fromlist=["*"])
    name = module.split(".")[1]
    public = [it for it in vars(loaded).values() if inspect.isfunction(it) and it.__module__ == loaded.__name__]
    for function in public:
        if function.__name__.startswith("_"):
            continue
        lines = re.findall(rf"^\s*salt\S* .*?\b{name}\.{function.__name__.rstrip('_')}\b(.*)$", function.__doc__, re.M)
        assert lines, f"{function.__name__} has no CLI example"
        for line in lines:
            words = shlex.split(line)
            positional = [word for word in words if not re.match(r"\w+=", word)]
            keywords = dict(word.split("=", 1) for word in words if re.match(r"\w+=", word))
            inspect.signature(function).bind(*positional, **keywords)


def test_the_readmes_python_is_the_api():
    import zkcoord

    (snippet,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    for name in re.findall(r"zkcoord\.(\w+)\(", snippet):
        assert callable(getattr(zkcoord, name))
    compile(snippet, "README.md", "exec")


def test_the_manual_is_built_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", ROOT / "docs", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "zk_concurrency" in (tmp_path / "reference.html").read_text()
