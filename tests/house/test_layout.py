"""The house: the stub says what the module does, and imports run one way."""

import ast
import inspect
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import zkcoord
from zkcoord import ensemble, grants, lease, znode

ROOT = Path(__file__).parents[2]


def test_every_public_function_explains_each_of_its_parameters():
    for function in (zkcoord.lock, zkcoord.unlock, zkcoord.lock_holders, zkcoord.party_members, zkcoord.status):
        document(function)
    for function in (
        zkcoord.set_max,
        zkcoord.hold,
        zkcoord.evict,
        zkcoord.party,
        zkcoord.party_join,
        zkcoord.party_leave,
        zkcoord.Membership.leave,
        zkcoord.pools,
        zkcoord.remove_pool,
        zkcoord.Connection.__init__,
        zkcoord.Hold.check,
        zkcoord.Hold.release,
    ):
        document(function)
    for name in set(znode.__all__) - {"digest_acl"}:
        document(getattr(znode, name))
    for name in set(grants.__all__) - {"ROOT"}:
        document(getattr(grants, name))
    for name in ("take", "renew", "give_back", "status", "below"):
        document(getattr(lease, name))
    locker = lease.LeaseLocker
    for method in (locker.__init__, locker.lock, locker.unlock, locker.unlock_with_retry, locker.renew, locker.check):
        document(method)
    document(lease.LeaseLock.__init__)
    for name in (
        "status",
        "ask",
        "leader",
        "config",
        "add_member",
        "remove_member",
        "set_config",
        "wait_synced",
        "tree",
        "is_up",
        "steps",
    ):
        document(getattr(ensemble, name))
    for kind in (ensemble.ZooKeeperManager, ensemble.ZooKeeperClient):
        document(kind.__init__)


def document(function):
    """Each parameter has its line in the docstring; so has each keyword that is passed on."""
    text = inspect.getdoc(function)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            names = {"profile", "config", "mechanism", "use_ssl", "session_timeout", "idle_timeout"}
        else:
            names = {parameter.name} - {"self"}
        for name in names:
            assert re.search(rf"^ +([\w, ]+, )?{name}(, [\w, ]+)?: \S", text, re.MULTILINE), (function, name)


def test_the_package_exports_what_it_names():
    assert all(hasattr(zkcoord, name) for name in zkcoord.__all__)


# Who may import whom, from the bottom to the top. An area is a file of src or a folder with all that is in it.
ALLOWED = {
    "error": set(),
    "path": {"error"},
    "secret": set(),
    "printable": set(),
    "acl": {"error", "secret"},
    "wait": set(),
    "connect": {"acl", "error", "path", "secret"},
    "session": {"connect", "error", "wait"},
    "client": {"connect", "error", "session", "wait"},
    "children": {"session"},
    "multi_read": {"children", "session"},
    "record": {"acl", "children", "error", "path", "session"},
    "watches": {"children", "session"},
    "znode": {"acl", "children", "client", "error", "path", "session", "wait", "watches"},
    "confd": {"error"},
    "recipe::identifier": set(),
    "recipe::queue": {"acl", "children", "error", "session"},
    "recipe::semaphore": {
        "acl",
        "children",
        "client",
        "connect",
        "error",
        "multi_read",
        "path",
        "printable",
        "record",
        "session",
        "tree",
        "wait",
        "watches",
    }
    | {"recipe::identifier", "recipe::queue"},
    "recipe::timed_lease": {"acl", "client", "connect", "error", "multi_read", "path", "record", "session", "wait"}
    | {"children", "recipe::identifier", "recipe::queue"},
    "recipe::coordinator": {"acl", "client", "connect", "error", "multi_read", "path", "record", "session", "wait"}
    | {"children", "recipe::party"},
    "recipe::party": {"acl", "children", "client", "error", "path", "session", "wait"}
    | {"recipe::identifier", "recipe::semaphore"},
    "tree": {"client", "error", "session", "wait"},
    "ensemble": {"client", "connect", "error", "session", "wait"},
    "py": {
        "acl",
        "client",
        "confd",
        "connect",
        "ensemble",
        "error",
        "path",
        "recipe::coordinator",
        "recipe::party",
        "recipe::semaphore",
        "recipe::timed_lease",
        "secret",
        "session",
        "tree",
        "wait",
        "znode",
    },
}
PURE = ["acl", "path", "recipe::identifier", "recipe::party::names", "secret", "wait::deadline"]
PURE += [f"connect::{name}" for name in ("choice", "credentials", "disclosure", "hosts", "settings", "source", "tls")]
PURE += [
    f"confd::{name}" for name in ("answer", "book", "key", "packet", "quorum", "reply", "request", "secrets", "verdict")
]
PURE += [f"ensemble::{name}" for name in ("configuration", "decision", "quorum", "words")]
PURE += [f"recipe::queue::{name}" for name in ("names", "order")]
PURE += [f"recipe::coordinator::{name}" for name in ("decide", "document", "names", "policy", "window")]
PURE += [f"recipe::semaphore::{name}" for name in ("claim", "limit", "names")]
PURE += [f"recipe::timed_lease::{name}" for name in ("claim", "judge", "lock_record", "names", "steps")]


def module_of(file):
    parts = file.relative_to(ROOT / "src").with_suffix("").parts
    return "::".join(parts[:-1] if parts[-1] == "mod" else parts)


MODULES = {module_of(file): file for file in (ROOT / "src").rglob("*.rs")}
TEXT = re.compile(r"""//[^\n]*|'(?:\\.|[^\\'])'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
SPLIT = re.compile(r"\w+(?:::\w+)*(?:::(?=\{))?|[{},]")


def code(text):
    """Rust without comments, characters, texts and unit tests."""
    return TEXT.sub('""', text).split("#[cfg(test)]\nmod tests")[0]


def paths(tree):
    """The paths in the tree of a `use`: `a::{b, c::{d}}` is `a::b` and `a::c::d`."""
    found, prefixes = [], [""]
    for token in SPLIT.findall(tree):
        if token == "{":
            prefixes.append(prefixes[-1] + found.pop())
        elif token == "}":
            prefixes.pop()
        elif token != ",":
            found.append(token if token.endswith("::") else prefixes[-1] + token)
    return found


def resolved(path, module):
    """The module that a path means which `module` names: the deepest that there is."""
    own = module.split("::") if module else []
    first, *rest = path.split("::")
    if first == "crate":
        parts = rest
    elif first == "self":
        parts = own + rest
    elif first == "super":
        ups = [first, *rest].count("super")
        parts = own[: len(own) - ups] + [first, *rest][ups:]
    elif "::".join([*own, first]) in MODULES:
        parts = [*own, first, *rest]
    else:
        return None
    while parts and "::".join(parts) not in MODULES:
        parts = parts[:-1]
    return "::".join(parts) if parts else None


def uses(text, module):
    """The modules of this crate that the code of one names."""
    text = code(text)
    inner = re.search(r"^mod (\w+) \{$(.*)^\}$", text, re.MULTILINE | re.DOTALL)
    if inner:
        return uses(text[: inner.start()], module) | uses(inner[2], f"{module}::{inner[1]}")
    trees = re.findall(r"\buse ([^;]+);", text)
    found = [path for tree in trees for path in paths(re.sub(r"\bas \w+", "", tree))]
    found += re.findall(r"\b(?:crate|super|self)(?:::\w+)+", re.sub(r"\buse [^;]+;", "", text))
    return {target for path in found if (target := resolved(path, module))} - {module}


def area_of(module):
    return next((area for area in ALLOWED if module == area or module.startswith(f"{area}::")), None)


IMPORTS = {module: uses(file.read_text(), module) for module, file in MODULES.items() if module != "lib"}


@pytest.mark.parametrize("module", sorted(IMPORTS))
def test_imports_run_one_way(module):
    area = area_of(module)
    used = {area_of(used) or used for used in IMPORTS[module]}
    assert used - {area} <= ALLOWED.get(area, set()), module


def test_no_modules_import_each_other_in_a_circle():
    circle = None
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        circle = error.args[1]
    assert circle is None


def test_a_circle_would_be_found():
    assert uses("use super::order;\nuse crate::{acl, recipe::{queue::names as n, party}};", "recipe::queue::watch") == {
        "acl",
        "recipe::party",
        "recipe::queue::names",
        "recipe::queue::order",
    }
    assert uses("mod owned;\nuse owned::Owned;\nfn f() { crate::wait::f() } // crate::py", "session") == {
        "session::owned",
        "wait",
    }
    with pytest.raises(CycleError):
        TopologicalSorter(IMPORTS | {"session::owned": {"client"}}).prepare()


def test_every_module_has_its_rule():
    assert {module for module in IMPORTS if area_of(module) is None} == {"recipe"}
    assert {area_of(module) for module in IMPORTS} == {*ALLOWED, None}


def test_only_the_bindings_know_python_and_only_they_are_behind_the_feature():
    for file in (ROOT / "src").rglob("*.rs"):
        names_python = re.search(r"\b(pyo3|pythonize)::", re.sub(r"//.*", "", file.read_text()))
        assert bool(names_python) <= (file.parent.name == "py"), file


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_do_no_io_and_read_no_clock(module):
    impure = r"\btokio\b|Instant::now|SystemTime|\basync\b|std::(net::(Tcp|Udp)|fs|io|thread)"
    assert not re.search(impure, code(MODULES[module].read_text()))


def imports(file):
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name.split(".")[0] for name in found} | {name for name in found if name.startswith("zkcoord.")}


def test_the_package_does_not_know_salt_nor_kazoo():
    for file in (ROOT / "python").rglob("*.py"):
        assert not imports(file) & {"salt", "saltext", "kazoo"}, file


def test_the_salt_extension_knows_the_package_and_no_client():
    for file in (ROOT / "salt_ext/src").rglob("*.py"):
        assert not imports(file) & {"kazoo", "zkcoord._core"}, file


def test_importing_the_package_loads_neither_salt_nor_the_test_servers(script):
    loaded = script("print(json.dumps(sorted(sys.modules)))").result()
    assert not re.search(r'"(salt|kazoo|zkcoord\.testing|asyncio|multiprocessing)"', loaded)


def test_no_file_is_too_long_to_be_read():
    areas = ("src", "compat", "python", "salt_ext/src", "tests")
    sources = [path for area in areas for path in (ROOT / area).rglob("*") if path.suffix in {".rs", ".py"}]
    assert not [str(path) for path in sources if len(path.read_text().splitlines()) > 500]


def test_the_tour_leads_to_files_that_are_there():
    tour = (ROOT / "docs/development/tour.rst").read_text()
    assert len(re.findall(r"^   \* - \S.*\?$", tour, re.MULTILINE)) >= 20
    named = set(re.findall(r"``([\w/]+\.\w+)``", tour)) - {"zkcoord.lock"}
    assert not [path for path in named if not (ROOT / path).is_file()]
