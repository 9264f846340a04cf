"""A real Kerberos realm: MIT's KDC as an ordinary process on loopback, with all it has in one directory."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

REALM = "ZKCOORD.TEST"
# Debian puts the KDC's programs where only root looks.
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

# Names are taken as they are: what DNS says about loopback is no part of a test. Nor is it about UDP.
KRB5_CONF = """\
[libdefaults]
  default_realm = {realm}
  dns_lookup_kdc = false
  dns_lookup_realm = false
  dns_canonicalize_hostname = false
  rdns = false
  udp_preference_limit = 1
[realms]
  {realm} = {{
    kdc = 127.0.0.1:{port}
  }}
[domain_realm]
  127.0.0.1 = {realm}
  localhost = {realm}
"""
KDC_CONF = """\
[kdcdefaults]
  kdc_listen = 127.0.0.1:{port}
  kdc_tcp_listen = 127.0.0.1:{port}
[realms]
  {realm} = {{
    database_name = {directory}/principal
    key_stash_file = {directory}/stash
    acl_file = {directory}/kadm5.acl
  }}
[logging]
  kdc = FILE:{directory}/kdc.log
"""


class Realm:
    """A realm whose KDC runs until the end of the `with` block, or until it is stopped."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "krb5.conf"
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Realm:
        names = {"realm": REALM, "port": self.port, "directory": self.directory}
        self.config.write_text(KRB5_CONF.format(**names))
        (self.directory / "kdc.conf").write_text(KDC_CONF.format(**names))
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", "master")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process one of this realm; it has no ticket yet, nor a place for one."""
        return {
            "KRB5_CONFIG": str(self.config),
            "KRB5_KDC_PROFILE": str(self.directory / "kdc.conf"),
            "KRB5CCNAME": f"FILE:{self.directory}/no-tickets",
            "KRB5_KTNAME": f"FILE:{self.directory}/no-keys",
            "KRB5_CLIENT_KTNAME": f"FILE:{self.directory}/no-keys",
        }

    def start(self) -> None:
        """Start the KDC, and wait until it listens."""
        command = ("krb5kdc", "-n", "-r", REALM)
        with (self.directory / "kdc.out").open("ab") as log:
            self._process = subprocess.Popen(command, env=self._environment(), stdout=log, stderr=log)
        end = time.monotonic() + 15
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self._process.poll() is None, (self.directory / "kdc.out").read_text()
            assert time.monotonic() < end, "the KDC does not listen"
            time.sleep(0.02)

    def stop(self) -> None:
        """End the KDC, frozen or not."""
        if self._process:
            self._process.kill()
            self._process.wait(10)
        self._process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """The KDC accepts connections, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def keytab(self, *principals: str) -> Path:
        """A file with new keys of principals, which are made if there are none of these names."""
        path = self.directory / f"{'+'.join(principals).replace('/', '-')}-{time.monotonic_ns()}.keytab"
        for principal in principals:
            self._run("kadmin.local", "-r", REALM, "-q", f"addprinc -randkey {principal}")
            self._run("kadmin.local", "-r", REALM, "-q", f"ktadd -k {path} {principal}")
        assert path.exists()
        return path

    def ticket(self, principal: str, keytab: Path, *options: str) -> Path:
        """A file with a ticket of a principal's."""
        path = self.directory / f"{principal}-{time.monotonic_ns()}.tickets"
        self._run("kinit", "-c", f"FILE:{path}", "-k", "-t", str(keytab), *options, principal)
        return path

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment, "PATH": PATH}

    def _run(self, *command: str) -> str:
        done = subprocess.run(command, env=self._environment(), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
