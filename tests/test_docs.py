"""The documentation agrees with the code: keys, links, file and function names, the version."""

import re
from pathlib import Path

import pytest
import yaml

import lora_scripts_ext
from lora_scripts_ext.commands import reference
from lora_scripts_ext.config import FIELDS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "README.zh.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted(DOCS.glob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]


def read(path):
    return path.read_text(encoding="utf-8")


def rows(page):
    """The cells of each key's row in a table, by key."""
    return {key: cells.split(" | ") for key, cells in re.findall(r"^\| `(\w+)` \| (.*) \|$", read(page), re.MULTILINE)}


def test_the_reference_is_up_to_date():
    assert read(DOCS / "config.md") == reference.markdown(), (
        "run python -m lora_scripts_ext.commands.reference docs/config.md"
    )


def test_the_chinese_reference_has_every_key_with_its_default():
    english, chinese = rows(DOCS / "config.md"), rows(DOCS / "config.zh.md")
    assert list(english) == list(chinese) == list(FIELDS)
    assert {key: cells[0] for key, cells in english.items()} == {
        key: cells[0].replace("*空*", "*empty*") for key, cells in chinese.items()
    }


@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
def test_the_keys_in_the_readme_exist(page):
    keys = re.findall(r"^\| `(\w+)` \|[^|]*\|[^|]*\|$", read(ROOT / page), re.MULTILINE)
    assert len(keys) == 10
    assert set(keys) <= set(FIELDS)


def test_the_reference_is_written_to_a_file_or_to_stdout(tmp_path, capsysbinary):
    file = tmp_path / "config.md"
    assert reference.main([str(file)]) == 0
    assert reference.main([]) == 0
    assert file.read_bytes() == capsysbinary.readouterr().out


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", read(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_have_a_target(page):
    for link in re.findall(r"\]\(([^)]+)\)", read(page)):
        if link.startswith("http"):
            continue
        target, _, anchor = link.partition("#")
        file = page.parent / target if target else page
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_bold_label_is_one_of_the_studios_or_the_tabs(page):
    package = ROOT / "lora_scripts_ext"
    files = [*(package / "studio" / "words").rglob("*.js"), package / "webui" / "tab.py"]
    sources = "".join(map(read, files))
    # Bold questions end with a mark; labels do not.
    for label in re.findall(r"\*\*([^*]+\w)\*\*", read(page)):
        assert f'"{" ".join(label.split())}"' in sources, label


def test_the_way_of_an_image_names_functions_that_exist():
    steps = re.findall(r"^\| [^|]+ \| (`[^|]+) \| .* \|$", read(DOCS / "architecture.md"), re.MULTILINE)
    assert len(steps) > 20
    for where in steps:
        file, *names = re.findall(r"`([^`]+)`", where)
        source = read(ROOT / "lora_scripts_ext" / file)
        for name in names:
            assert re.search(rf"^ *(def|class) {name.removesuffix('()')}\b", source, re.MULTILINE), f"{file}: {name}"


def test_the_drawing_of_the_layers_has_every_package():
    drawing = read(DOCS / "architecture.md").split("```")[1]
    for package in (ROOT / "lora_scripts_ext").iterdir():
        if (package / "__init__.py").exists():
            assert re.search(rf"\b{package.name}\b", drawing), package.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page):
    paths = re.findall(r"`((?:lora_scripts_ext|tests|configs|benchmarks|pocket|docs)/[\w/.]*)`", read(page))
    for path in paths:
        assert (ROOT / path).exists(), path


def test_the_version_is_written_once_and_is_the_changelogs_newest():
    project = read(ROOT / "pyproject.toml")
    assert 'dynamic = ["version"]' in project
    assert 'version = { attr = "lora_scripts_ext.__version__" }' in project
    newest = re.search(r"^## \[([^\]]+)\]", read(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert newest and newest[1] == lora_scripts_ext.__version__


def test_hooks_use_the_pinned_versions():
    pins = read(ROOT / "requirements.txt") + read(ROOT / "requirements-test.txt")
    for repo in yaml.safe_load(read(ROOT / ".pre-commit-config.yaml"))["repos"]:
        if "ruff" in repo["repo"]:
            assert f"ruff=={repo['rev'].removeprefix('v')}\n" in pins
        for hook in repo["hooks"]:
            for package in hook.get("additional_dependencies", []):
                assert f"{package}\n" in pins, package


def test_the_workflow_runs_the_readmes_command():
    job = yaml.safe_load(read(ROOT / ".github" / "workflows" / "test.yml"))["jobs"]["test"]
    assert job["steps"][-1]["run"] == "python run.py test"
    assert "```\npython run.py test\n```" in read(ROOT / "README.md")
