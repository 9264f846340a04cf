"""What others have written into znodes, in front of an operator: told, never obeyed by a terminal or by a shell."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from zkcoord import lock, status

from tests.semaphore.test_salt_runner import present, runner  # noqa: F401 - fixtures

TITLE = "web1\x1b]0;owned\x07\x1b[2J\nroot holds nothing"
REVERSED = "web1\u202egnihton sdloh toor"
PRINT_ARGUMENTS = "import json, sys; print(json.dumps(sys.argv[1:]))"


def in_a_shell(command):
    """The arguments that a shell makes of a command, as Salt's command line takes them: the function, and its own."""
    from salt.utils.args import parse_input

    program, rest = command.split(" ", 1)
    assert program in ("salt-run", "salt-call")
    script = f'"$@" {rest}'
    done = subprocess.run(
        ["sh", "-c", script, "sh", sys.executable, "-c", PRINT_ARGUMENTS],
        capture_output=True,
        text=True,
        check=True,
    )
    function, *arguments = json.loads(done.stdout)
    args, keywords = parse_input(arguments, condition=False)
    keywords.pop("__kwarg__", None)
    return function, args, keywords


class TestCommands:
    @pytest.mark.parametrize(
        "text",
        [
            "web1",
            "007",
            "1e3",
            "true",
            "[a, b]",
            "{a: b}",
            "a: b",
            "5 # five",
            "it's",
            'say "what"',
            "$HOME `id` ; rm -rf /",
            "back\\slash",
            "null",
            TITLE,
            REVERSED,
            "ünï\u0085cödé",
            "tab\there",
            "'",
            "-",
            "nul\0byte",
            "\U0001f600\U000e0041",
        ],
    )
    def test_a_word_reaches_the_function_as_the_text_that_it_was(self, text):
        from saltext.zkcoord.utils.terminal import quoted

        command = f"salt-run zk_concurrency.unlock identifier={quoted(text)}"
        assert command.isprintable()
        assert in_a_shell(command) == ("zk_concurrency.unlock", [], {"identifier": text})

    @pytest.mark.parametrize(("text", "seen"), [(TITLE, r"web1\x1b]0;owned\x07\x1b[2J\x0aroot holds nothing")])
    def test_what_is_told_has_no_command_for_a_terminal(self, text, seen):
        from saltext.zkcoord.utils.terminal import shown

        assert shown(text) == seen
        assert shown(REVERSED) == "web1\\u202egnihton sdloh toor"
        assert shown("\U000e0041") == "\\U000e0041"
        assert shown("Grüße 5") == "Grüße 5"


class TestDoctor:
    @pytest.fixture
    def findings(self, runner, root):  # noqa: F811
        return lambda **arguments: runner.doctor(root, **arguments)["findings"]

    @pytest.mark.parametrize("who", [TITLE, REVERSED, "007", "-"])
    def test_the_command_for_a_holder_frees_that_very_slot(self, findings, runner, shim, hosts, root, who):  # noqa: F811
        lock(root, hosts, identifier=who)
        ((finding),) = findings(zk_hosts=hosts)
        assert all(text.isprintable() for text in finding.values())
        command = "salt-run" + finding["do"].partition("salt-run")[2]
        function, args, keywords = in_a_shell(command)
        assert function == "zk_concurrency.unlock"
        assert runner.unlock(*args, **keywords) is True
        assert status(root, hosts)["holders"] == []

    def test_an_identifier_that_is_no_argument_is_freed_by_its_lease(self, findings, root, zk):
        zk.create(root, b"1")
        zk.create(f"{root}/{'a' * 32}", b"\xff\xfe")
        (finding,) = findings()
        assert all(text.isprintable() for text in finding.values())
        assert finding["do"].endswith(f"salt-call zookeeper.delete {root}/{'a' * 32}")

    def test_a_queue_node_of_nobody_is_told_with_what_removes_it(self, findings, hosts, root, zk, salt):
        orphan = f"{root}-__lock__/{'f' * 32}__lock__0000000000"
        zk.create(root, b"1")
        zk.create(orphan, TITLE.encode(), makepath=True)
        zk.create(f"{root}-__lock__/notes", b"no queue node")
        # Neither one who waits for too long, nor one with a session.
        (finding,) = findings(max_wait=0, zk_hosts=hosts)
        assert finding["what"].startswith(f"The queue node {'f' * 32}__lock__0000000000 of web1\\x1b]0;owned")
        assert "belongs to no session" in finding["what"]
        assert "None" not in finding["what"]
        function, args, keywords = in_a_shell("salt-call" + finding["do"].partition("salt-call")[2])
        assert (function, args, keywords) == ("zookeeper.delete", [orphan], {"hosts": hosts})
        assert salt.salt_call(function, *args, **keywords).outcome == (0, True)
        assert zk.get_children(f"{root}-__lock__") == ["notes"]
        assert lock(root, hosts, identifier="next", timeout=5)

    def test_the_name_of_a_queue_node_is_no_command_either(self, findings, root, zk):
        node = "; reboot #__lock__0000000007"
        zk.create(root, b"1")
        zk.create(f"{root}-__lock__/{node}", b"x", makepath=True)
        (finding,) = findings()
        assert in_a_shell("salt-call" + finding["do"].partition("salt-call")[2])[1] == [f"{root}-__lock__/{node}"]


class TestOutput:
    @pytest.fixture
    def show(self, monkeypatch, tmp_path, shim):
        from saltext.zkcoord.output import zk_concurrency

        opts = {"extension_modules": str(tmp_path), "optimization_order": [0], "color": False}
        monkeypatch.setattr(zk_concurrency, "__opts__", opts, raising=False)
        return zk_concurrency.output

    def test_a_table_has_a_line_for_each_and_no_more(self, show, hosts, root, zk):
        lock(root, hosts, identifier=TITLE)
        zk.create(f"{root}-__lock__/{'f' * 32}__lock__0000000000", REVERSED.encode(), makepath=True)
        lines = show(status(root, hosts)).split("\n")
        assert len(lines) == 7
        assert all(line.isprintable() for line in lines)
        assert r"web1\x1b]0;owned\x07\x1b[2J\x0aroot holds nothing" in lines[3]
        assert lines[4].split("|")[5].strip() == "Session"
        assert lines[6].split("|")[5].strip() == "none: blocks all behind it"

    def test_findings_come_from_minions_of_other_versions_too(self, show):
        report = {"path": "/a\x1b[2J", "findings": [{"what": TITLE, "do": TITLE}]}
        assert all(line.isprintable() for line in show(report).split("\n"))


class TestErrors:
    def test_a_state_that_got_no_slot_tells_what_blocks_the_queue(self, salt, hosts, root, zk):
        zk.create(root, b"1")
        zk.create(f"{root}-__lock__/{'f' * 32}__lock__0000000000", b"web1", makepath=True)
        salt.state("top", {"a": {"zk_concurrency.held": [{"name": root}, {"max_concurrency": 1}, {"timeout": 1}]}})
        told = salt.salt_call("state.apply", "top")
        assert f"the queue node {root}-__lock__/{'f' * 32}__lock__0000000000 belongs to no session" in told.stdout

    def test_who_holds_the_slot_is_told_as_text(self, run, hosts, root, execution_error):
        lock(root, hosts, identifier=TITLE)
        with pytest.raises(execution_error, match=r"held by web1\\x1b\]0;owned") as raised:
            run("test.note", timeout=0)
        assert str(raised.value).isprintable()
