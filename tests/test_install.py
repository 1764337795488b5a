"""What the WebUI runs and reads of the extension before it loads it."""

import argparse
import configparser
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pip
import pytest

import install
import preload

ROOT = Path(__file__).parents[1]


def wheel(folder: Path, name: str, version: str, *needs: str) -> None:
    """An empty package, as pip installs it."""
    folder.mkdir(exist_ok=True)
    requirements = "".join(f"Requires-Dist: {need}\n" for need in needs)
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as packed:
        packed.writestr(f"{module}.py", "")
        packed.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requirements}")
        packed.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr(f"{info}/RECORD", "")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Packages that pip finds without a network."""
    folder = tmp_path_factory.mktemp("shelf")
    for name, (_, least) in install.NEEDED.items():
        wheel(folder, name, f"{least}.3")
    wheel(folder, "numpy", "99.0")
    wheel(folder, "prodigyopt", "1.1", "numpy>=1.0")
    wheel(folder, "schedulefree", "1.4", "numpy>=99")
    wheel(folder, "lion-pytorch", "0.2", "einops")
    wheel(folder, "einops", "0.8")
    return folder


@pytest.fixture(scope="module")
def python(tmp_path_factory, shelf):
    """A Python of its own, with what a WebUI has in the oldest versions."""
    folder = tmp_path_factory.mktemp("webui") / "venv"
    venv.create(folder)
    own = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    # Quicker than ensurepip.
    for part in Path(pip.__file__).parents[1].glob("pip*"):
        shutil.copytree(part, packages / part.name)
    requirements = [f"{name}=={least}.3" for name, (_, least) in install.NEEDED.items()]
    command = [str(own), "-m", "pip", "install", "-q", "--no-index", "--find-links", str(shelf), *requirements]
    subprocess.run(command, check=True)
    return own


def run(python, shelf, arguments=""):
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "INDEX_URL"))}
    environment = quiet | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(shelf), "COMMANDLINE_ARGS": arguments}
    done = subprocess.run([str(python), str(ROOT / "install.py")], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def installed(python):
    done = subprocess.run([str(python), "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True)
    return dict(line.split("==") for line in done.stdout.splitlines())


def test_it_installs_and_prints_nothing_where_all_is_there(python, shelf):
    before = installed(python)
    assert run(python, shelf) == []
    assert run(python, shelf, "--listen --api") == []
    assert installed(python) == before


def test_the_extras_are_installed_on_request_and_nothing_else_changes(python, shelf):
    before = installed(python)
    lines = run(python, shelf, "--listen --lora-trainer-extras")
    after = installed(python)
    assert {name: after[name] for name in before} == before
    assert {name: after[name] for name in after.keys() - before.keys()} == {
        "prodigyopt": "1.1", "lion-pytorch": "0.2", "einops": "0.8",
    }  # fmt: skip
    assert "LoRA Trainer: installed prodigyopt 1.1 (optimizer: prodigy)." in lines
    refused = next(line for line in lines if "schedulefree" in line)
    assert "cannot be installed without changing other packages" in refused
    assert len(lines) == len(install.EXTRAS)
    again = run(python, shelf, "--lora-trainer-extras")
    assert not any("prodigyopt" in line for line in again)


def test_what_is_missing_or_too_old_is_one_line(python, shelf):
    wheel(shelf, "transformers", "4.25.1")
    pip_command = [str(python), "-m", "pip"]
    subprocess.run(
        [*pip_command, "install", "-q", "--no-index", "--find-links", shelf, "transformers==4.25.1"], check=True
    )
    subprocess.run([*pip_command, "uninstall", "-q", "-y", "safetensors"], check=True)
    (line,) = run(python, shelf)
    assert "transformers 4.25.1 (needed: 4.30 or newer)" in line
    assert "no safetensors (needed: 0.4 or newer)" in line


def test_the_flag_is_found_on_the_command_line_of_the_webui(tmp_path):
    pytest.importorskip("psutil")
    starts = (
        "import subprocess, sys; "
        'print(subprocess.run(f\'"{sys.executable}" -c "import install; print(install.asked())"\', shell=True, '
        "capture_output=True, text=True).stdout)"
    )
    for flags, printed in ((["--api", install.FLAG], "True"), (["--api"], "False")):
        command = [sys.executable, "-c", starts, *flags]
        assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip() == printed


@pytest.mark.parametrize(
    ("version", "least", "older"),
    [("2.1.2+cu121", "2.1", False), ("2.10.0", "2.9", False), ("2.0.1", "2.1", True), ("3.0rc1", "3.0", False)],
)
def test_versions_are_compared_as_numbers(version, least, older):
    assert (install._numbers(version) < install._numbers(least)) is older


def test_a_quote_that_is_left_open_is_left_to_the_webui(monkeypatch):
    monkeypatch.setenv("COMMANDLINE_ARGS", "--lora-trainer-extras 'x")
    assert install.asked() is False


def test_the_flag_is_one_of_the_webuis():
    parser = argparse.ArgumentParser()
    preload.preload(parser)
    assert parser.parse_args([]).lora_trainer_extras is False
    assert parser.parse_args([install.FLAG]).lora_trainer_extras is True


def test_the_extension_loader_reads_its_name_and_nothing_that_does_not_exist():
    metadata = configparser.ConfigParser()
    assert metadata.read(ROOT / "metadata.ini")
    assert metadata["Extension"]["Name"] == "lora-trainer"
    assert metadata.sections() == ["Extension"]
