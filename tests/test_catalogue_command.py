"""The catalogue from a shell: a list in, finished images out; killed at any image it goes on and ends with the same."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lora_scripts_ext import __main__
from lora_scripts_ext.catalogue.store import Catalogue

ROOT = Path(__file__).resolve().parent.parent
LIST = """\
货号,标题,Product type,颜色
S-1,红色运动鞋,Shoes,红色
S-2,Leather backpack,Bags,brown
,without a SKU,Bags,
S-3,Teapot,Kitchen,white
S-4,Blue shoe,Shoes,blue
"""
RULES = """\
rules:
  - name: shoes
    when: {category: Shoes}
    loras: []
  - name: bags
    when: {category: Bags}
    loras: []
    prompt: "a photo of {name}"
"""


@pytest.fixture
def inputs(tmp_path):
    (tmp_path / "list.csv").write_text(LIST, encoding="utf-8")
    (tmp_path / "rules.yaml").write_text(RULES, encoding="utf-8")
    return ["--products", str(tmp_path / "list.csv"), "--rules", str(tmp_path / "rules.yaml")]


@pytest.fixture
def generating(inputs, checkpoint):
    """The arguments of ``generate`` but for its folder."""
    small = [f"--set={one}" for one in ("width=32", "height=32", "steps=1")]
    return [*inputs, "--channel", "social-square", "--base-model", str(checkpoint), "--candidates", "2", *small]


def ran(capsys, *arguments, code=0):
    """The JSON that the command prints last, and what it says on stderr."""
    found = __main__.main(["catalogue", *map(str, arguments)])
    printed = capsys.readouterr()
    assert found == code, printed.err
    return json.loads(printed.out.splitlines()[-1]) if code == 0 else None, printed.err


def content(folder):
    """Every image and manifest below a folder."""
    kinds = (".png", ".jpg", ".json", ".csv")
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.suffix in kinds
    }


def test_from_a_list_to_a_manifest_and_what_a_person_approves(generating, tmp_path, capsys):
    out = tmp_path / "out"
    done, said = ran(capsys, "generate", *generating, "--out", out)
    assert (done["generated"], done["failed"], done["images"], done["unmatched"]) == (6, 0, 3, ["S-3"])
    assert [(one["row"], one["column"]) for one in done["problems"]] == [(4, "货号")]
    assert "row 4: This row has no SKU" in said and "S-3" in said
    images = json.loads(Path(done["manifest"]).read_text(encoding="utf-8"))["images"]
    assert [(one["sku"], one["approval"]) for one in images] == [("S-1", None), ("S-2", None), ("S-4", None)]
    assert images[0]["prompt"].startswith("red trainers") and images[1]["prompt"] == "a photo of Leather backpack"
    assert images[0]["alt"] == {"en": "red trainers", "zh": "红色运动鞋"}
    before = content(out)
    again, _ = ran(capsys, "generate", *generating, "--out", out)
    assert (again["generated"], again["written"]) == (0, 0) and content(out) == before

    ran(capsys, "approve", "--catalogue", out, "--sku", "S-2", "--candidate", 2, "--who", "Li", "--crop", "0,0,0.5,1")
    ran(capsys, "approve", "--catalogue", out, "--sku", "S-1", "--candidate", 1, "--reject")
    done, _ = ran(capsys, "export", "--catalogue", out, "--out", tmp_path / "chosen")
    assert done["images"] == 1
    chosen = json.loads((tmp_path / "chosen/manifest.json").read_text(encoding="utf-8"))["images"]
    assert [(one["sku"], one["candidate"], one["approval"]["by"]) for one in chosen] == [("S-2", 2, "Li")]
    done, _ = ran(capsys, "export", "--catalogue", out, "--out", tmp_path / "all", "--all", "--channel", "shopify")
    assert done["images"] == 3 and list((tmp_path / "all").rglob("shopify-*.jpg"))


def test_a_list_is_tried_before_anything_is_drawn(inputs, capsys):
    found, _ = ran(capsys, "check", *inputs)
    assert (found["products"], found["rules"], found["unmatched"]) == (4, {"shoes": 2, "bags": 1}, ["S-3"])
    assert [one["sku"] for one in found["examples"]] == ["S-1", "S-2"]
    found, _ = ran(capsys, "check", *inputs, "--columns", "sku=标题,title=货号")
    assert found["unmatched"] == ["Teapot"]


def test_new_rows_leave_what_is_drawn(generating, tmp_path, capsys):
    out = tmp_path / "out"
    ran(capsys, "generate", *generating, "--out", out)
    before = content(out / "catalogue")
    (tmp_path / "list.csv").write_text(LIST.replace("S-1", "S-0,Boot,Shoes,red\nS-1"), encoding="utf-8")
    done, _ = ran(capsys, "generate", *generating, "--out", out)
    after = content(out / "catalogue")
    assert done["generated"] == 2 and {name: after[name] for name in before} == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_partial_list_adds_and_changes_and_leaves_the_rest(generating, tmp_path, capsys):
    part = tmp_path / "elsewhere" / "part.csv"
    part.parent.mkdir()
    part.write_text("货号,标题,类目\nS-2,Red bag,Bags\nN-1,New bag,Bags\n", encoding="utf-8")
    arguments = ["--products", part, *generating[2:], "--out", tmp_path / "out"]
    _, said = ran(capsys, "generate", *arguments, "--partial", code=2)
    assert "give the whole list first" in said
    ran(capsys, "generate", *generating, "--out", tmp_path / "out")
    before = content(tmp_path / "out/catalogue")
    done, _ = ran(capsys, "generate", *arguments, "--partial")
    assert (done["generated"], done["images"], done["unmatched"]) == (2, 4, ["S-3"])
    assert before.items() <= content(tmp_path / "out/catalogue").items()


def test_after_kills_every_image_is_there_once_with_the_same_bytes(generating, tmp_path, capsys):
    whole, out = tmp_path / "whole", tmp_path / "killed"
    ran(capsys, "generate", *generating, "--out", whole)
    arguments = ["generate", *generating, "--out", str(out)]
    # When one of a product's two images is there; while a finished one is written.
    for when, pattern in (("after", "000002-001-*.png"), ("before", "S-2/*.jpg")):
        command = [sys.executable, "-m", "tests.dying", when, pattern, "catalogue", *arguments]
        killed = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png") if not path.name.startswith(".")}
    assert len(before) == 6
    done, _ = ran(capsys, *arguments)
    assert done["generated"] == 0 and content(out) == content(whole)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    catalogue = Catalogue.open(out / "catalogue")
    assert {one.sku: one.state for one in catalogue.page().products} == {
        "S-1": "drawn", "S-2": "drawn", "S-3": "unmatched", "S-4": "drawn",
    }  # fmt: skip
    catalogue.close()


def test_what_is_wrong_is_said(generating, tmp_path, capsys):
    out = ["--out", tmp_path / "out"]
    for arguments, sentence in (
        (["generate", *generating, *out, "--set", "stepps=3"], "unknown key 'stepps'"),
        (["generate", *generating, *out, "--columns", "sku"], "write FIELD=COLUMN"),
        (["generate", *generating, *out, "--columns", "sku=Number"], "no column of the list"),
        (["generate", *generating, *out, "--products", tmp_path / "no.csv"], "no.csv"),
        (["generate", *generating, *out, "--channel", "nowhere"], "there is none of this name"),
        (["generate", *generating, *out, "--key", tmp_path / "key.pem"], "--certificate and --key belong together"),
        (["export", "--catalogue", tmp_path, *out], "there is no catalogue"),
        (["approve", "--catalogue", tmp_path, "--sku", "X", "--candidate", "1"], "there is no catalogue"),
    ):
        assert sentence in ran(capsys, *arguments, code=2)[1]
