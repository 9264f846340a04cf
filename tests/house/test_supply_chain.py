"""What the native wheel is built from: crates.io and this repository, under licences that fit, and nothing else.

`cargo metadata` is all that this needs, and it works offline. These are the checks of licences, bans,
duplicates and sources that cargo-deny has. Its last, of advisories, needs the network, and cargo-deny itself takes
longer to build than all of this.
"""

import json
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
import zkcoord

ROOT = Path(__file__).parents[2]
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
OURS = {"zkcoord", "zkcoord-cli", "async-io", "async-net"}
LICENCES = {
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
    "Unlicense",
}
BANNED = {
    "blocking": "async-io as published needs it",
    "polling": "async-io as published needs it: one reactor for a process and its forks",
    "native-tls": "rustls does TLS",
    "openssl": "rustls does TLS",
    "openssl-sys": "rustls does TLS",
}
# Two versions of one crate are twice the code. Of these zookeeper-client asks for older ones.
DOUBLE = {"ahash", "getrandom", "hashbrown", "thiserror"}


def cargo(*arguments: str) -> dict:
    command = ["cargo", "metadata", "--format-version=1", "--locked", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"is Cargo.lock in step with Cargo.toml? {done.stderr}"
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def shipped() -> dict[str, dict]:
    """The packages that are in the wheel for Linux on amd64, by their ids: not those of tests and of builds."""
    metadata = cargo("--filter-platform", "x86_64-unknown-linux-gnu")
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found: dict[str, dict] = {}
    left = [metadata["resolve"]["root"]]
    while left:
        package = left.pop()
        runs_in_the_compiler = "proc-macro" in packages[package]["targets"][0]["kind"]
        if package not in found and not runs_in_the_compiler:
            found[package] = packages[package]
            needs = nodes[package]["deps"]
            left += [need["pkg"] for need in needs if any(kind["kind"] is None for kind in need["dep_kinds"])]
    assert len(found) > 30
    return found


@pytest.fixture(scope="module")
def everything() -> list[dict]:
    """All that is in Cargo.lock."""
    return cargo()["packages"]


def test_everything_is_from_crates_io_or_from_here(everything):
    elsewhere = {package["name"]: package["source"] for package in everything if package["source"] != CRATES_IO}
    assert elsewhere == dict.fromkeys(OURS, None)
    for package in everything:
        if package["source"] is None:
            assert Path(package["manifest_path"]).is_relative_to(ROOT)


def test_licences_fit(everything):
    def fits(licence: str) -> bool:
        terms = re.sub(r" ?/ ?", " OR ", licence).replace("(", "").replace(")", "")
        return all(any(term in LICENCES for term in either.split(" OR ")) for either in terms.split(" AND "))

    assert {
        package["name"]: package["license"] for package in everything if not fits(package["license"] or "none")
    } == {}


def test_nothing_that_is_banned(everything):
    found = {package["name"] for package in everything if package["source"] == CRATES_IO}
    assert found & (BANNED.keys() | OURS) == set()


def test_what_is_shipped_twice_is_listed(shipped):
    names = [package["name"] for package in shipped.values()]
    assert {name for name in names if names.count(name) > 1} - DOUBLE == set()


def test_the_lock_file_is_committed_and_every_crate_has_a_checksum():
    if (ROOT / ".git").exists() and shutil.which("git"):  # neither is there in a source distribution on a bare machine
        listed = subprocess.run(["git", "ls-files", "Cargo.lock"], cwd=ROOT, capture_output=True, text=True, check=True)
        assert listed.stdout == "Cargo.lock\n"
    entries = (ROOT / "Cargo.lock").read_text().split("[[package]]")[1:]
    for entry in entries:
        assert ("checksum = " in entry) == (CRATES_IO in entry), entry


def test_no_crate_wants_a_newer_rust_than_we_say():
    """With Kerberos and with what the tests need: `cargo` compares before it builds, but after it has downloaded."""

    def numbers(version: str | None) -> tuple[int, ...]:
        return tuple(map(int, (version or "0").split(".")))[:2]

    packages = cargo("--all-features")["packages"]
    (ours,) = (package["rust_version"] for package in packages if package["name"] == "zkcoord")
    newer = {it["name"]: it["rust_version"] for it in packages if numbers(it["rust_version"]) > numbers(ours)}
    assert newer == {}


def test_no_code_of_ours_is_unsafe_but_the_one_call_that_is_only_called_so():
    manifests = [ROOT / "Cargo.toml", *(ROOT / "compat").glob("*/Cargo.toml")]
    assert len(manifests) == 3
    for manifest in manifests:
        assert re.search(r'^unsafe_code = "(forbid|deny)"', manifest.read_text(), re.M), manifest
    sources = [*(ROOT / "src").rglob("*.rs"), *(ROOT / "compat").rglob("*.rs")]
    unsafe = {file: re.findall(r"unsafe \{.*|allow\([^)]*unsafe.*", file.read_text()) for file in sources}
    call = "unsafe { options.with_no_hostname_verification() }"
    assert {file: found for file, found in unsafe.items() if found} == {
        ROOT / "src" / "connect" / "certificates.rs": ["allow(unsafe_code)]", call]
    }
    assert not any(re.search(r"\bunsafe (fn|impl|extern|trait)\b", file.read_text()) for file in sources)


def test_the_version_is_the_distributions():
    assert zkcoord.__version__ == version("zkcoord")


def test_the_developers_tools_are_pinned():
    for file in ("requirements-dev.txt", "requirements-3006.txt"):
        lines = [line for line in (ROOT / file).read_text().splitlines() if line and not line.startswith("#")]
        assert lines
        assert [line for line in lines if not re.match(r"[\w.-]+(\[\w+\])?==[\w.]+( ;.*)?$", line)] == []
