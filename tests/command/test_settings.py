"""Which setting is in force: options, the environment, and the two files; and what the help is made of."""

from __future__ import annotations

import os
import re
import subprocess
import termios
from pathlib import Path

import pytest


@pytest.fixture
def own_file(environment) -> Path:
    """The user's configuration file."""
    path = Path(environment["XDG_CONFIG_HOME"]) / "zkcoord.toml"
    path.parent.mkdir()
    return path


@pytest.fixture
def in_force(zkcoord_command):
    """The settings in force: a value, and where it comes from."""

    def ask(*arguments, **options):
        ended = zkcoord_command("config", "--json", *arguments, **options)
        assert ended.status == 0, ended.err
        return {it["setting"]: (it["value"], it["from"]) for it in ended.value}

    return ask


NOTHING = {"ZKCOORD_HOSTS": "", "ZKCOORD_SESSION_TIMEOUT": ""}


class TestPrecedence:
    def test_option_then_environment_then_file_then_default(self, in_force, own_file, hosts):
        own_file.write_text('hosts = "file:1"\nsession_timeout = "1m"\nconnect_timeout = 2.5\n')
        assert in_force("--hosts", "option:1")["hosts"] == ("option:1", "--hosts")
        assert in_force()["hosts"] == (hosts, "ZKCOORD_HOSTS")
        found = in_force("--config", own_file, env=NOTHING)
        assert found["hosts"] == ("file:1", str(own_file))
        assert found["session_timeout"] == ("60 s", str(own_file))
        assert found["connect_timeout"] == ("2.5 s", str(own_file))
        own_file.unlink()
        assert in_force(env=NOTHING)["hosts"] == ("127.0.0.1:2181", "default")

    def test_a_profile_stands_for_itself(self, in_force, own_file):
        own_file.write_text(
            'hosts = "a:1"\nusername = "u"\npassword_file = "/nowhere"\n[profiles.b]\nhosts = ["c:1", "d:2"]\n'
        )
        found = in_force("--profile", "b", env=NOTHING)
        assert found["hosts"] == ("c:1,d:2", str(own_file))
        assert "username" not in found

    def test_a_profile_that_is_not_there_is_refused_with_those_that_are(self, zkcoord_command, own_file):
        own_file.write_text("[profiles.b]\nhosts = 'c:1'\n")
        ended = zkcoord_command("config", "--profile", "x")
        assert (ended.status, ended.err.count("\n")) == (2, 1)
        assert "profiles there: b" in ended.err

    def test_it_works_with_the_servers_of_a_profile(self, zkcoord_command, own_file, hosts, root):
        own_file.write_text(f"[profiles.here]\nhosts = {hosts.split(',')}\n")
        assert zkcoord_command("--profile", "here", "holders", root, env=NOTHING).status == 0


class TestSecrets:
    SECRET = "s3cret-s3cret"

    def test_no_secret_is_shown(self, zkcoord_command, own_file):
        own_file.write_text(f'hosts = "a:1"\nusername = "u"\npassword = "{self.SECRET}"\n')
        own_file.chmod(0o600)
        for form in ((), ("--json",)):
            ended = zkcoord_command("config", *form, env=NOTHING)
            assert (ended.status, self.SECRET in ended.out + ended.err) == (0, False)
            assert "(set)" in ended.out

    def test_a_file_with_a_password_that_all_may_read_is_refused(self, zkcoord_command, own_file):
        own_file.write_text(f'hosts = "a:1"\nusername = "u"\npassword = "{self.SECRET}"\n')
        own_file.chmod(0o644)
        ended = zkcoord_command("config", env=NOTHING)
        assert (ended.status, "chmod 600" in ended.err, self.SECRET in ended.err) == (2, True, False)

    def test_a_password_of_a_file_goes_only_to_the_servers_of_that_file(self, zkcoord_command, own_file, root):
        own_file.write_text(f'hosts = "a:1"\nusername = "u"\npassword = "{self.SECRET}"\n')
        own_file.chmod(0o600)
        ended = zkcoord_command("--hosts", "127.0.0.1:1", "holders", root)
        assert (ended.status, self.SECRET in ended.err) == (2, False)
        assert "127.0.0.1:1 is not among the hosts of" in ended.err

    def test_there_is_no_option_for_a_password(self, zkcoord_command):
        ended = zkcoord_command("holders", "/a", "--password", self.SECRET)
        assert (ended.status, self.SECRET in ended.err) == (2, False)

    def test_a_password_from_a_file_and_from_the_environment_logs_in(self, zkcoord_command, tmp_path, root, zk):
        from kazoo.security import make_digest_acl

        zk.create(root, b"1", acl=[make_digest_acl("user", self.SECRET, all=True)])
        password = tmp_path / "password"
        password.write_text(f"{self.SECRET}\nnot this\n")
        given = ("--username", "user")
        assert zkcoord_command(*given, "--password-file", password, "holders", root).status == 0
        assert zkcoord_command(*given, "holders", root, env={"ZKCOORD_PASSWORD": self.SECRET}).status == 0
        assert zkcoord_command(*given, "holders", root, env={"ZKCOORD_PASSWORD": "wrong"}).status == 4
        assert zkcoord_command(*given, "znode", "rm", root, env={"ZKCOORD_PASSWORD": self.SECRET}).status == 0

    def test_a_password_is_typed_at_a_terminal_and_not_echoed(self, binary, environment, wait_until):
        primary, secondary = os.openpty()
        become = (
            "import os, sys, fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
        )
        command = ["python3", "-c", become, str(binary), "--username", "u", "--ask-password", "config"]
        options = {"stdin": secondary, "stdout": secondary, "stderr": secondary, "start_new_session": True}
        with subprocess.Popen(command, env=environment, **options) as process:
            os.close(secondary)
            seen = b""
            while b"Password: " not in seen:
                seen += os.read(primary, 1000)
            wait_until(lambda: not termios.tcgetattr(primary)[3] & termios.ECHO, "the terminal shows nothing of it")
            os.write(primary, f"{self.SECRET}\n".encode())
            while b"files:" not in seen:
                seen += os.read(primary, 10_000)
            assert process.wait(60) == 0
        os.close(primary)
        assert self.SECRET.encode() not in seen
        assert b"--ask-password" in seen


class TestFiles:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("hsots = 'a:1'", "unknown field `hsots`"),
            ("hosts = 'a:1'\nhosts = 'b:1'", "line 2: duplicate key"),
            ("hosts = ", "line 1: "),
            ("profiles = 3", "profiles must be tables"),
            ("session_timeout = 'soon'", "session_timeout must be seconds, or a time"),
            ("password_file = '/no/such/file'", "/no/such/file: No such file"),
            ("hosts = ['']", "zk_hosts: "),
        ],
    )
    def test_what_is_wrong_with_one_is_one_line(self, zkcoord_command, own_file, text, reason):
        own_file.write_text(text)
        ended = zkcoord_command("config", env=NOTHING)
        assert (ended.status, ended.err.count("\n")) == (2, 1)
        assert reason in ended.err

    def test_a_file_that_was_named_must_be_there(self, zkcoord_command, tmp_path):
        ended = zkcoord_command("--config", tmp_path / "none.toml", "config")
        assert (ended.status, "none.toml: No such file" in ended.err) == (2, True)


class TestHelp:
    def test_every_command_and_every_option_is_described(self, zkcoord_command):
        page = zkcoord_command("help").out
        commands = re.findall(
            r"^  ([a-z-]+)  ", page.partition("Commands:\n")[2].partition("Options:")[0], re.MULTILINE
        )
        assert {"run", "lock", "unlock", "holders", "status", "set-max", "party", "config"} <= {*commands}
        for command in commands:
            ended = zkcoord_command("help", command)
            assert ended.status == 0
            for line in ended.out.splitlines():
                assert len(line) <= 115, line

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_completions_name_the_commands(self, zkcoord_command, shell):
        out = zkcoord_command("completions", shell).out
        assert "set-max" in out
        assert "session-timeout" in out

    def test_bash_takes_its_completions(self, zkcoord_command, tmp_path):
        script = tmp_path / "zkcoord.bash"
        script.write_text(zkcoord_command("completions", "bash").out)
        command = (
            f". {script}; COMP_WORDS=(zkcoord ho); COMP_CWORD=1; _zkcoord zkcoord ho zkcoord; echo ${{COMPREPLY[@]}}"
        )
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["holders"]

    def test_there_is_a_manual_page_for_all_and_for_each(self, zkcoord_command):
        page = zkcoord_command("manual").out
        assert page.startswith((".ie", ".TH"))
        assert "SIGKILL after" in zkcoord_command("manual", "run").out.replace("\\-", "-")
        assert zkcoord_command("manual", "nothing").status == 2
