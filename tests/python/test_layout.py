"""The house: the stub says what the module does, and imports run one way."""

import ast
import inspect
import re
from pathlib import Path

import pytest
import zkcoord
from zkcoord import znode

ROOT = Path(__file__).parents[2]


def test_every_public_function_explains_each_of_its_parameters():
    for function in (zkcoord.lock, zkcoord.unlock, zkcoord.lock_holders, zkcoord.party_members, zkcoord.status):
        document(function)
    for function in (
        zkcoord.set_max,
        zkcoord.hold,
        zkcoord.Connection.__init__,
        zkcoord.Hold.check,
        zkcoord.Hold.release,
    ):
        document(function)
    for name in set(znode.__all__) - {"digest_acl"}:
        document(getattr(znode, name))


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


# Who may import whom. A module is a file or a directory of src; what is not named it must not use.
PURE = ["acl", "deadline", "path", "secret", "security", "settings"]
PURE += [f"recipe/{name}" for name in ("claim", "data", "names", "order")]
ALLOWED = {
    "error": set(),
    "deadline": set(),
    "path": {"error"},
    "acl": {"error"},
    "secret": set(),
    "security": {"error", "secret"},
    "settings": {"error", "path", "acl", "security"},
    "tls": {"error", "security"},
    "diagnosis": {"error", "security", "settings", "tls"},
    "kerberos": {"diagnosis", "error", "security", "settings"},
    "wait": {"deadline"},
    "session": {"diagnosis", "error", "kerberos", "security", "settings", "tls"},
    "registry": {"session", "settings", "wait"},
    "client": {"deadline", "diagnosis", "error", "kerberos", "registry", "session", "settings", "wait"},
    "children": {"session"},
    "record": {"acl", "children", "error", "path", "session"},
    "znode": {"acl", "client", "error", "path", "session", "wait"},
    "recipe": {"acl", "children", "client", "deadline", "error", "path", "record", "session", "settings", "wait"},
    "py": {"acl", "client", "deadline", "error", "recipe", "registry"}
    | {"secret", "security", "settings", "wait", "znode"},
}


def rust_files(area):
    single = ROOT / "src" / f"{area}.rs"
    return [single] * single.exists() + sorted((ROOT / "src" / area).rglob("*.rs"))


def uses(text):
    """The areas of this crate that a Rust file names in its code."""
    code = re.sub(r"//.*", "", text)
    found = set(re.findall(r"\bcrate::(\w+)", code))
    for group in re.findall(r"use crate::\{([^;]*)\};", code):
        found |= set(re.findall(r"(?:^|,)\s*(\w+)", group))
    return found


@pytest.mark.parametrize("area", sorted(ALLOWED))
def test_imports_run_one_way(area):
    assert rust_files(area), area
    for file in rust_files(area):
        assert uses(file.read_text()) - {area} <= ALLOWED[area], file.name


def test_every_area_has_its_rule():
    areas = {path.stem for path in (ROOT / "src").iterdir()} - {"lib"}
    assert areas == set(ALLOWED)


def test_only_the_bindings_know_python_and_only_they_are_behind_the_feature():
    for file in (ROOT / "src").rglob("*.rs"):
        names_python = re.search(r"\b(pyo3|pythonize)::", re.sub(r"//.*", "", file.read_text()))
        assert bool(names_python) <= (file.parent.name == "py"), file


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_do_no_io_and_read_no_clock(module):
    code = re.sub(r"//.*", "", (ROOT / "src" / f"{module}.rs").read_text())
    assert not re.search(r"\btokio\b|Instant::now|SystemTime|\basync\b|std::(net::Tcp|fs|io|thread)", code)


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
