"""The main job on a real ensemble: salt-call takes a slot, waits for one, gives it back, and lists a party.

Starts three ZooKeeper servers on free loopback ports, and stops them at the end, however it ends.
"""

import getpass
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from kazoo.client import KazooClient
from zkcoord.testing import Ensemble

POOL = "/locks/restart"
PARTY = "/parties/web"
BY_HOSTS, BY_PROFILE = "{hosts}", "profile=demo"

# what happens, the function and its arguments, the expected answer, the expected exit code
SLOTS = [
    ("web1 takes the only slot", f"lock {POOL} {BY_HOSTS} identifier=web1", ["True"], 0),
    ("the same servers by profile, and who is in", f"lock_holders {POOL} {BY_PROFILE}", ["web1"], 0),
    ("web2 waits for a second", f"lock {POOL} {BY_PROFILE} identifier=web2 timeout=1", ["False"], 1),
    ("web1 gives the slot back", f"unlock {POOL} {BY_PROFILE} identifier=web1", ["True"], 0),
    ("now web2 gets it", f"lock {POOL} {BY_PROFILE} identifier=web2 timeout=1", ["True"], 0),
    ("and gives it back", f"unlock {POOL} {BY_PROFILE} identifier=web2", ["True"], 0),
    ("nobody is in", f"lock_holders {POOL} {BY_PROFILE}", [], 0),
]
MEMBERS = [
    (
        "two hosts have joined a party",
        f"party_members {PARTY} {BY_PROFILE} min_nodes=2 blocking=True timeout=5",
        ["web1", "web2"],
        0,
    ),
]


class WrongAnswer(Exception):
    """A command did not answer as it should."""


def main() -> None:
    print("starting three ZooKeeper servers ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="zkcoord-demo-") as directory, Ensemble(3) as ensemble:
        configure(Path(directory), ensemble.hosts)
        for step in SLOTS:
            run(directory, ensemble.hosts, *step)
        client = KazooClient(ensemble.hosts)
        client.start()
        try:
            client.Party(PARTY, "web1").join()
            client.ShallowParty(PARTY, "web2").join()
            for step in MEMBERS:
                run(directory, ensemble.hosts, *step)
        finally:
            client.stop()
            client.close()
    print("\nall answers as expected; everything is stopped")


def configure(directory: Path, hosts: str) -> None:
    """Write a masterless minion's configuration, with the profile `demo`. JSON is YAML."""
    minion = {
        "file_client": "local",
        "id": "demo",
        "user": getpass.getuser(),
        "root_dir": str(directory / "root"),
        "zookeeper": {"demo": {"hosts": hosts}},
    }
    (directory / "minion").write_text(json.dumps(minion))


def run(directory: str, hosts: str, what: str, call: str, answer: list[str], code: int) -> None:
    """Show a salt-call as one would type it, run it, show its answer, and compare that with the expected."""
    command = ["salt-call", "--local", *shlex.split(f"zk_concurrency.{call.format(hosts=hosts)}")]
    print(f"\n# {what}\n$ {shlex.join(command)}", flush=True)
    done = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:]],
        env={**os.environ, "SALT_CONFIG_DIR": directory},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    print(done.stdout.rstrip() + f"\n(exit code {done.returncode})", flush=True)
    # Salt's own way to write one value or a list: "local:", then indented lines, a list's with a dash
    said = [line.strip().removeprefix("- ") for line in done.stdout.splitlines()[1:]]
    if (sorted(said), done.returncode) != (answer, code):
        raise WrongAnswer(f"expected {answer} and exit code {code}\n{done.stderr}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("demo: terminated"))
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("demo: interrupted")
    except WrongAnswer as error:
        sys.exit(f"demo: {error}")
