"""The layers of the package: imports point down, and each kind of name stands in one package."""

import ast
import re
from pathlib import Path

from lora_scripts_ext.families.registry import FAMILIES

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "lora_scripts_ext"
# From the ground up: a package may import those of the lines above it, and the files beside the packages.
LAYERS = [
    {"families", "library"},
    {"models"},
    {"base_models"},
    {"images"},
    {"marks"},
    {"channels"},
    {"captions", "keeping"},
    {"comparison"},
    {"adapters", "dataset", "captioning"},
    {"hosts"},
    {"evaluation", "products"},
    {"preparation", "training"},
    {"catalogue"},
    {"integrations", "jobs"},
    {"api", "cluster"},
    {"commands", "webui"},
]
# What files beside the packages may import.
GROUND = "families"
LARGEST_SHARE = 0.15


def imports(path):
    """The modules of ours that a file imports, with dots, relative to the package."""
    package = list(path.relative_to(PACKAGE).parent.parts)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # What is imported for annotations only is not there when the program runs.
    types = {id(inner) for node in ast.walk(tree) if _is_for_types(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and id(node) not in types:
            base = package[: len(package) - node.level + 1] + (node.module or "").split(".")
            for name in node.names:
                yield [part for part in [*base, name.name] if part]


def _is_for_types(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def level(package):
    return next(number for number, names in enumerate(LAYERS) if package in names)


def files():
    return sorted(PACKAGE.rglob("*.py"))


def test_imports_point_down():
    wrong = []
    for path in files():
        parts = path.relative_to(PACKAGE).parts
        own = parts[0] if len(parts) > 1 else None
        for imported in imports(path):
            other = imported[0] if (PACKAGE / imported[0]).is_dir() else None
            if other is None or other == own:
                continue
            if (own is None and other != GROUND) or (own is not None and level(other) >= level(own)):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {'.'.join(imported)}")
    assert not wrong


def test_the_page_knows_training_only_through_jobs():
    pages = [path for path in files() if "webui" in path.relative_to(PACKAGE).parts[:1]]
    assert pages and not [path.name for path in pages for imported in imports(path) if imported[0] == "training"]


def test_nothing_imports_in_a_circle():
    edges = {}
    for path in files():
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        edges[name] = set()
        for imported in imports(path):
            for end in (imported, imported[:-1]):
                if (PACKAGE / Path(*end)).with_suffix(".py").is_file():
                    edges[name].add(".".join(end))
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            path.append(name)
            for other in sorted(edges.get(name, ())):
                visit(other)
            done.add(path.pop())

    for name in sorted(edges):
        visit(name)


def test_no_package_holds_more_than_its_share():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files()}
    total = sum(lines.values())
    for package in PACKAGE.iterdir():
        if package.is_dir():
            share = sum(count for path, count in lines.items() if path.is_relative_to(package)) / total
            assert share <= LARGEST_SHARE, package.name


def test_the_name_of_a_webui_stands_only_in_its_host():
    assert files_with(r"\ba1111|\bforge\b|\bneo\b", "hosts") == []


def test_the_name_of_a_family_stands_only_in_families():
    names = "|".join(family.name for family in FAMILIES)
    assert files_with(rf"[\"']({names})[\"']", "families") == []


def files_with(pattern, package):
    """The files outside of ``package`` that hold the pattern."""
    return [
        str(path.relative_to(PACKAGE))
        for path in files()
        if package not in path.parts and re.search(pattern, path.read_text(encoding="utf-8"))
    ]
