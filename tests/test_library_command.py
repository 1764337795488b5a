"""``library``: LoRAs merged, resized, imported, renamed and retired by hand."""

import json

import pytest

from lora_scripts_ext.__main__ import main
from lora_scripts_ext.library.database import Database
from lora_scripts_ext.library.models import Models

from .test_adapter_into_checkpoint import checkpoint
from .test_adapter_merge import effects, lora, weighted_sum


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_TRAINER_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def two(tmp_path):
    (tmp_path / "Lora" / "Brands").mkdir(parents=True)
    return [
        str(lora(tmp_path / "Lora" / "Brands" / f"{name}.safetensors", seed=seed)) for seed, name in enumerate("ab")
    ]


def run(capsys, *words, code=0):
    assert main(["library", *map(str, words)]) == code
    out, err = capsys.readouterr()
    return json.loads(out) if code == 0 and "--json" in words else out if code == 0 else err


def test_files_are_merged_and_resized_without_a_library(two, data, tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    made = run(capsys, "merge", *two, "--weights", "0.7,-0.5", "--out", out, "--json")
    assert made["path"] == str(out) and made["error"] < 1e-6 and made["ranks"] == [6, 6]
    expected = weighted_sum(two)
    assert all((effects(out)[key] - matrix).norm() < 1e-5 * matrix.norm() for key, matrix in expected.items())
    text = run(capsys, "resize", out, "--rank", 2, "--out", tmp_path / "small.safetensors")
    assert "rank 2 in fp32; the relative error is 0." in text
    base = checkpoint(tmp_path / "base.safetensors", "sd1")
    merged = run(capsys, "into-checkpoint", base, out, "--out", tmp_path / "new.safetensors", "--json")
    assert merged["layers"] == len(expected) and (tmp_path / "new.safetensors").is_file()
    assert not data.exists()
    for words, says in (
        (["merge", *two, "--weights", "1", "--out", tmp_path / "x.safetensors"], "give one for each"),
        (["merge", *two, "--weights", "1,x", "--out", tmp_path / "x.safetensors"], "no list of numbers"),
        (["merge", *two, "--out", out], "nothing is overwritten"),
        (["resize", two[0], "--rank", "2"], "--out"),
        (["merge", "nobody", "--out", tmp_path / "x.safetensors"], "library list"),
    ):
        error = run(capsys, *words, code=2)
        assert says in error and error.startswith("error: ") and error.count("\n") == 1


def test_a_folder_is_imported_listed_merged_renamed_and_retired(two, data, tmp_path, capsys):
    imported = json.loads(run(capsys, "import", tmp_path / "Lora", "--tag", "old"))
    assert (len(imported["models"]), imported["versions"]) == (2, 2)
    listed = run(capsys, "list", "--tag", "brands", "--json")
    assert sorted((one["name"], one["kind"], one["versions"]) for one in listed) == [
        ("a", "brand_style", 1), ("b", "brand_style", 1),
    ]  # fmt: skip
    made = run(capsys, "merge", "a", "b@1", "--name", "both", "--rank", 3, "--json")
    models = Models(Database(data))
    version = models.version(made["model"], made["version"])
    assert (version.origin, version.file) == ("merge", made["path"])
    assert [part["weight"] for part in version.facts["lineage"]["parts"]] == [1.0, 1.0]
    again = run(capsys, "resize", "both", "--rank", 1, "--json")
    smaller = models.version(made["model"], again["version"])
    assert (smaller.number, smaller.origin, smaller.parent) == (2, "resize", version.id)
    assert run(capsys, "rename", "a", "first", "--json")["published"] == [
        str(tmp_path / "Lora/Brands/first.safetensors")
    ]
    run(capsys, "retire", "first")
    assert not (tmp_path / "Lora" / "Brands" / "first.safetensors").exists()
    assert [one["name"] for one in run(capsys, "list", "--retired", "--json")] == ["first"]
    run(capsys, "restore", "first")
    assert (tmp_path / "Lora" / "Brands" / "first.safetensors").is_file()
    assert "first  brand_style  1 version  done  [old, Brands]" in run(capsys, "list", "--search", "first")
    assert "not retired" in run(capsys, "restore", "first", code=2)


def test_a_merge_that_fails_leaves_no_model(two, data, tmp_path, capsys):
    other = lora(tmp_path / "c.safetensors", "sdxl")
    assert "one kind of base model" in run(capsys, "merge", two[0], other, "--name", "both", code=2)
    assert Models(Database(data)).page().total == 0
