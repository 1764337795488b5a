"""The studio's JavaScript is typed by its comments, which TypeScript checks; the same versions as those it ships."""

import json
import re
import subprocess

import pytest

from .page import packages

PAGE = packages.ROOT / "tests" / "page"
VENDOR = packages.ROOT / "lora_scripts_ext" / "studio" / "vendor" / "README.md"


def test_the_types_of_the_studio_are_right():
    try:
        compiler = packages.folder() / "typescript" / "bin" / "tsc"
    except packages.Unreachable as error:
        pytest.skip(f"TypeScript is not here and cannot be fetched: {error}")
    command = [packages.node(), str(compiler), "--project", str(PAGE), "--pretty", "false"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr


def test_types_are_those_of_the_libraries_that_ship():
    shipped = dict(re.findall(r"\| (@?[a-z/-]+) (\d+\.\d+\.\d+), ", VENDOR.read_text(encoding="utf-8")))
    lock = json.loads((PAGE / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert len(shipped) == 5
    assert {name: lock[f"node_modules/{name}"]["version"] for name in shipped} == shipped
