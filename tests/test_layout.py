"""The packages import one way only, keep their private names, and stay light where they have to."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import zoomdream
from tests.conftest import ROOT

ORDER = [
    ("size", "errors", "events", "files", "process_settings", "pipeline", "text"),
    ("settings",),
    ("media",),
    ("network",),
    ("dreaming",),
    ("motion",),
    ("film",),
    ("study",),
    ("zoomdream",),  # __init__.py, the library's face
    ("cli", "training"),
    ("__main__",),
]
FACE = {"zoomdream", "settings", "errors", "events", "size", "text"}
COMMAND_LINE_LIBRARIES = ("typer", "click", "rich")

# Files in which something stands against a rule still. Both are to become empty.
OPEN_FACE: set[str] = set()
OPEN_TESTS: set[str] = set()


def level(package: str) -> int:
    return next(number for number, packages in enumerate(ORDER) if package in packages)


@dataclass(frozen=True)
class Import:
    """A module of zoomdream that is imported, with the name that is taken from it."""

    module: str  # such as `zoomdream.film.render`
    name: str  # "" where it is the module itself
    bound: str  # what it is called in the file

    @property
    def package(self) -> str:
        return package_of(self.module)

    def __str__(self) -> str:
        return f"{self.module}.{self.name}".rstrip(".")


def package_of(module: str) -> str:
    """The package right under zoomdream, or the module that lies there by itself; "" outside."""
    first, *rest = module.split(".")
    return (rest[0] if rest else first) if first == "zoomdream" else ""


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def syntax(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imports_of(file: Path) -> Iterator[Import]:
    """All of a file's imports of zoomdream, those inside functions and for type checks as well."""
    for node in ast.walk(syntax(file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "zoomdream":
                    yield Import(alias.name, "", alias.asname or "zoomdream")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide what is imported"
            module = node.module or ""
            if module.split(".")[0] != "zoomdream":
                continue
            for alias in node.names:
                whole = f"{module}.{alias.name}"
                is_module = module_file(whole) is not None
                yield Import(
                    whole if is_module else module,
                    "" if is_module else alias.name,
                    alias.asname or alias.name,
                )


def module_file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    return next(
        (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None
    )


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


@cache
def private_names() -> dict[str, set[str]]:
    """The private names that each package defines: functions, classes, constants, attributes."""
    names: dict[str, set[str]] = {}
    for file in SOURCES:
        own = names.setdefault(package_of(module_of(file)), set())
        for node in ast.walk(syntax(file)):
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    own.add(name)
                case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                    own.add(name)
    return {package: set(filter(is_private, own)) for package, own in names.items()}


def private_uses(file: Path) -> Iterator[str]:
    """Private names of other packages that a file imports, or takes from an object with a dot."""
    package = package_of(module_of(file))
    for one in imports_of(file):
        if is_private(one.name) and one.package != package:
            yield str(one)
    own = private_names().get(package, set())
    others = set[str]().union(*(n for p, n in private_names().items() if p != package)) - own
    for node in ast.walk(syntax(file)):
        if isinstance(node, ast.Attribute) and node.attr in others:
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                continue
            yield f".{node.attr}"


def patches(file: Path) -> Iterator[str]:
    """What of zoomdream a test replaces while it runs."""
    bound = {one.bound for one in imports_of(file)}
    for node in ast.walk(syntax(file)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        if node.func.attr not in ("setattr", "delattr", "setitem", "delitem", "patch", "object"):
            continue
        target = node.args[0]
        if isinstance(target, ast.Constant):
            if isinstance(target.value, str) and target.value.startswith("zoomdream."):
                yield f"patches {target.value}"
            continue
        root: ast.expr = target
        while isinstance(root, ast.Attribute | ast.Subscript):
            root = root.value
        if isinstance(root, ast.Name) and root.id in bound:
            names = [ast.unparse(part).strip("'") for part in node.args[1:2]]
            yield f"patches {'.'.join([ast.unparse(target), *names])}"


SOURCES = sorted((ROOT / "zoomdream").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))


def in_file(file: Path, what: object) -> str:
    return f"{file.relative_to(ROOT)}: {what}"


def outside(against: set[str], open_files: set[str]) -> set[str]:
    """Leaves out what stands in files that are known to be open."""
    return {text for text in against if text.partition(":")[0] not in open_files}


def test_packages_import_one_way() -> None:
    against = {
        in_file(file, one)
        for file in SOURCES
        for one in imports_of(file)
        if level(one.package) > level(package_of(module_of(file)))
    }
    assert against == set()


def test_nothing_imports_the_training() -> None:
    users = {
        module_of(file)
        for file in SOURCES + EXAMPLES
        for one in imports_of(file)
        if one.package == "training"
    }
    assert {package_of(module) for module in users} <= {"training"}


def test_packages_keep_their_private_names() -> None:
    assert {in_file(f, use) for f in SOURCES + EXAMPLES for use in private_uses(f)} == set()


def test_the_command_line_stands_on_the_public_face() -> None:
    around = {
        in_file(file, one)
        for file in SOURCES + EXAMPLES
        for one in imports_of(file)
        if package_of(module_of(file)) in ("cli", "") and one.package not in {"cli", *FACE}
    }
    assert outside(around, OPEN_FACE) == set()


def test_tests_stay_on_public_names_and_patch_none() -> None:
    uses = {
        in_file(file, use)
        for file in TESTS
        for use in (*private_uses(file), *patches(file))
        if file != Path(__file__)
    }
    assert outside(uses, OPEN_TESTS) == set()


def flags_in_texts(file: Path) -> Iterator[str]:
    """Texts, but for docstrings, that name an option of the command line."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(syntax(file))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(syntax(file)):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docstrings:
                if re.search(r"(?<![\w-])--[a-z]", text):
                    yield text


def test_messages_of_the_library_name_settings_and_no_flags() -> None:
    files = [f for f in SOURCES if level(package_of(module_of(f))) < level("cli")]
    texts = {in_file(file, text) for file in files for text in flags_in_texts(file)}
    assert {text for text in texts if "pip install" not in text} == set()


def face_tables() -> tuple[set[str], dict[str, str], dict[str, str]]:
    """What the face offers by `__all__`, its table of late imports, and what type checkers see of those."""
    offered, late, typed = set[str](), dict[str, str](), dict[str, str]()
    for node in syntax(ROOT / "zoomdream" / "__init__.py").body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")]):
                offered = set(ast.literal_eval(node.value))
            case ast.Assign(targets=[ast.Name(id="_NEEDS_TORCH")]):
                late = ast.literal_eval(node.value)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                for one in node.body:
                    assert isinstance(one, ast.ImportFrom)
                    module = (one.module or "").removeprefix("zoomdream.")
                    for alias in one.names:
                        typed[alias.asname or alias.name] = f"{module}:{alias.name}"
    return offered, late, typed


def test_the_face_offers_what_it_imports_late() -> None:
    offered, late, typed = face_tables()
    assert late == typed
    assert set(late) <= offered
    at_once = {name for name in offered if name in vars(zoomdream)} - set(late)
    assert offered == at_once | set(late)
    assert all(callable(getattr(zoomdream, name)) for name in late)
    assert offered <= set(dir(zoomdream))


def loaded(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return {name.split(".")[0] for name in done.stdout.split()}


def test_settings_need_neither_torch_nor_a_command_line() -> None:
    folder = ROOT / "zoomdream" / "settings"
    modules = ", ".join(module_of(file) for file in sorted(folder.rglob("*.py")))
    assert not loaded(f"import {modules}") & {"torch", *COMMAND_LINE_LIBRARIES}


@pytest.mark.parametrize("use", ["", "; zoomdream.RenderJob(); zoomdream.load_preset('eyes')"])
def test_the_library_needs_no_command_line(use: str) -> None:
    assert not loaded(f"import zoomdream{use}") & {"torch", *COMMAND_LINE_LIBRARIES}


def test_rendering_needs_no_command_line() -> None:
    modules = [module_of(file) for file in SOURCES]
    above = ("cli", "training", "__main__")
    library = ", ".join(module for module in modules if package_of(module) not in above)
    assert not loaded(f"import {library}") & set(COMMAND_LINE_LIBRARIES)


def test_help_needs_no_torch() -> None:
    assert "torch" not in loaded("from zoomdream.cli import run; run(['zoom', '--help'])")
