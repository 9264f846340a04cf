"""`zkcoord pools`, `remove-pool`, and `doctor --all`."""

import json

from kazoo.security import make_digest_acl


def test_pools_are_a_table_and_with_json_a_list(shell, root, zk):
    assert shell("pools", root).returncode == 1, "there is no such znode"
    assert shell("lock", f"{root}/web", "-n", "2", "--id", "web1").returncode == 0
    zk.create(f"{root}/x\u202e", acl=[make_digest_acl("owner", "secret", all=True)])
    zk.create(f"{root}/x\u202e-__lock__")
    done = shell("pools", root)
    head, *rows = done.stdout.decode().splitlines()
    assert (done.returncode, head.split()) == (0, ["pool", "held", "slots", "waiting"])
    assert [row.split() for row in rows] == [
        [f"{root}/web", "1", "2", "0"],
        [f"{root}/x\\u{{202e}}", "?", "no", "limit", "0"],
    ]
    listed = json.loads(shell("--json", "pools", root).stdout)
    assert listed[0] == {"path": f"{root}/web", "max_concurrency": 2, "held": 1, "waiting": 0, "changes": 1}
    assert shell("pools", f"{root}/web/1").returncode == 1
    zk.create(f"{root}/empty")
    assert (shell("pools", f"{root}/empty").stdout, shell("pools", f"{root}/empty").returncode) == (b"", 0)


def test_a_pool_is_removed_when_nobody_uses_it(shell, root, zk):
    assert shell("remove-pool", root).returncode == 1
    assert shell("lock", root, "--id", "web1").returncode == 0
    refused = shell("remove-pool", root)
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert refused.stderr.decode() == f"zkcoord: {root} is in use: 1 slot is held; nothing was removed\n"
    assert json.loads(shell("--json", "remove-pool", root).stderr)["error"] == "InUse"
    assert shell("unlock", root, "--id", "web1").returncode == 0
    assert shell("remove-pool", root).returncode == 0
    assert zk.exists(root) is None


def test_the_doctor_looks_at_all_pools_below_a_znode(shell, root, zk):
    assert shell("lock", f"{root}/eu/web", "--id", "web1").returncode == 0
    assert shell("lock", f"{root}/db", "--id", "db1").returncode == 0
    done = shell("doctor", "--all", root)
    assert (done.returncode, done.stdout.decode()) == (0, f"{root}: 2 pools: nothing odd\n")
    assert shell("lock", f"{root}/db", "--id", "db2", "--force").returncode == 0
    zk.create(f"{root}/eu/web/x\u202e", b"someone")
    done = shell("--json", "doctor", "--all", root)
    whats = [finding["what"] for finding in json.loads(done.stdout)]
    assert done.returncode == 1
    assert {what.partition(": ")[0] for what in whats} == {f"{root}/db", f"{root}/eu/web"}
    assert not any("\u202e" in what for what in whats)
    zk.create(f"{root}/db/closed", b"x", acl=[make_digest_acl("owner", "secret", all=True)])
    whats = [finding["what"] for finding in json.loads(shell("--json", "doctor", "--all", root).stdout)]
    assert any(what.startswith(f"The pool {root}/db cannot be examined: not permitted to read") for what in whats)
    assert any(what.startswith(f"{root}/eu/web: ") for what in whats), "the others are, all the same"
    assert shell("doctor", "--all", f"{root}/none").returncode == 1


def test_a_path_without_a_pool_is_told_as_that_with_the_pools_beside_it(shell, root):
    assert shell("status", f"{root}/webb").stdout.decode() == f"no pool at {root}/webb\n"
    for name in ("web", "db"):
        assert shell("lock", f"{root}/{name}", "--id", "a").returncode == 0
    done = shell("status", f"{root}/webb")
    assert done.returncode == 0
    assert done.stdout.decode() == f"no pool at {root}/webb; pools beside it: {root}/db, {root}/web\n"
    assert json.loads(shell("--json", "status", f"{root}/webb").stdout)["holders"] == []
    assert shell("status", f"{root}/web").stdout.startswith(f"{root}/web: 1 of 1 slots held".encode())
