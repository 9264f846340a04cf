"""The house: the stub says what the module does, and imports run one way."""

import ast
import inspect
import re
from pathlib import Path

import pytest
import zkcoord
from zkcoord import _core

ROOT = Path(__file__).parents[2]
STUB = ast.parse((ROOT / "python/zkcoord/_core.pyi").read_text())


def stub_functions():
    return {node.name: node for node in STUB.body if isinstance(node, ast.FunctionDef)}


def test_the_stub_names_what_the_module_exports_and_nothing_else():
    declared = set(stub_functions())
    declared |= {node.target.id for node in STUB.body if isinstance(node, ast.AnnAssign) and node.value is None}
    private = {"__doc__", "__file__", "__loader__", "__name__", "__package__", "__spec__", "__all__"}
    assert declared == set(vars(_core)) - private


def parameters(function):
    """Name, kind and default of each parameter, of a function or of its stub."""
    if isinstance(function, ast.FunctionDef):
        source = ast.unparse(function.args)
        function = eval(f"lambda {re.sub(r': [^,=]+', '', source)}: None")
    return [(it.name, it.kind, it.default) for it in inspect.signature(function).parameters.values()]


def unannotated(node):
    for argument in [*node.args.args, *node.args.kwonlyargs]:
        argument.annotation = None
    return node


@pytest.mark.parametrize("name", sorted(stub_functions()))
def test_signatures_agree(name):
    assert parameters(unannotated(stub_functions()[name])) == parameters(getattr(_core, name))


def test_every_public_function_has_a_docstring_in_both():
    for name, node in stub_functions().items():
        if not name.startswith("_"):
            assert ast.get_docstring(node), name
            assert getattr(_core, name).__doc__, name


def test_the_package_exports_what_it_names():
    assert all(hasattr(zkcoord, name) for name in zkcoord.__all__)


# Who may import whom. A module is a file or a directory of src; what is not named it must not use.
PURE = ["acl", "deadline", "path", "record", "secret", "security", "settings", "recipe/names", "recipe/order"]
ALLOWED = {
    "error": set(),
    "deadline": set(),
    "record": set(),
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
    "registry": {"session", "settings"},
    "ensemble": {"deadline", "diagnosis", "error", "kerberos", "registry", "session", "settings", "wait"},
    "znode": {"acl", "ensemble", "error", "path", "session", "wait"},
    "recipe": {"acl", "deadline", "ensemble", "error", "path", "record", "session", "settings", "wait"},
    "py": {"acl", "deadline", "ensemble", "error", "recipe", "registry"}
    | {"secret", "security", "settings", "wait", "znode"},
}


def rust_files(area):
    single = ROOT / "src" / f"{area}.rs"
    return [single] if single.exists() else sorted((ROOT / "src" / area).glob("*.rs"))


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
