"""The commands on folders as people have them: every image is used or named, every mistake is a sentence."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from lora_scripts_ext.captions.store import CaptionStore
from lora_scripts_ext.commands import auto_label as label_command
from lora_scripts_ext.commands import check_dataset as check_command
from lora_scripts_ext.commands import prepare_dataset, train
from lora_scripts_ext.preparation import archive

from .photos import photo

ROOT = Path(__file__).parents[1]


def jpeg(seed=1, side=80):
    packed = io.BytesIO()
    photo(seed, side).save(packed, "JPEG")
    return packed.getvalue()


def check(*arguments):
    return check_command.main([*arguments])


def prepare(*arguments):
    return prepare_dataset.main([*arguments])


def label(*arguments):
    return label_command.main([*arguments, "--captioner", "names"])


@pytest.fixture
def mixed(tmp_path):
    """Three images that can be used and four files that only look like it."""
    home = tmp_path / "mixed"
    (home / "sub").mkdir(parents=True)
    for seed, name in enumerate(("a.JPG", "sub/b.jfif", "plain")):
        (home / name).write_bytes(jpeg(seed))
    for name in ("raw.CR2", "drawing.psd", "short.lnk", "sub/logo.svg"):
        (home / name).write_bytes(b"x")
    return home


UNREAD = {"raw.CR2", "drawing.psd", "short.lnk", "sub/logo.svg"}


def test_every_command_names_what_it_cannot_read(mixed, tmp_path, capsys):
    def summary_of_run():
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    assert check("--input", str(mixed)) == 0
    summary = summary_of_run()
    assert {one["name"] for one in summary["pictures"]} == {"a.JPG", "sub/b.jfif", "plain"}
    assert {one["name"] for one in summary["skipped"]} == UNREAD
    assert prepare("--input", str(mixed), "--output", str(tmp_path / "out"), "--resolution", "64") == 0
    summary = summary_of_run()
    assert summary["made"] == 3 and {one["file"] for one in summary["skipped"]} == UNREAD
    assert label("--input", str(mixed)) == 0
    summary = summary_of_run()
    assert summary["written"] == 3 and {one["picture"] for one in summary["skipped"]} == UNREAD


@pytest.mark.parametrize("command", [check, prepare, label])
def test_what_is_no_folder_of_images_is_a_sentence(command, mixed, tmp_path, capsys):
    more = ["--output", str(tmp_path / "out")] if command is prepare else []
    (tmp_path / "empty").mkdir()
    (tmp_path / "unread").mkdir()
    (tmp_path / "unread/a.nef").touch()
    for name, sentence in (
        ("missing", "there is no folder"),
        ("empty", "there is no image in"),
        ("unread", "a.nef is a camera raw file"),
        ("x" * 300, "too long"),
    ):
        assert command("--input", str(tmp_path / name), *more) == 2
        captured = capsys.readouterr()
        assert sentence in captured.err and captured.err.startswith("error: ") and not captured.out
    if command is not prepare:
        assert command("--input", str(mixed / "a.JPG")) == 2
        assert "is a file; name the folder" in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        command("--input", "", *more)
    assert left.value.code == 2 and "it is empty" in capsys.readouterr().err


@pytest.mark.parametrize("side", ["0", "-5", "31", "8193", "1000000000"])
def test_an_absurd_resolution_is_a_sentence(side, mixed, tmp_path, capsys):
    assert check("--input", str(mixed), "--resolution", side) == 2
    assert "32 to 8192 pixels" in capsys.readouterr().err
    assert prepare("--input", str(mixed), "--output", str(tmp_path / "out"), "--resolution", side) == 2
    assert "32 to 8192 pixels" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_files_that_are_missing_or_folders_are_a_sentence(mixed, tmp_path, capsys):
    for path in (tmp_path / "no.csv", mixed):
        assert check("--input", str(mixed), "--metadata", str(path)) == 2
        assert "there is no file" in capsys.readouterr().err
    assert label("--input", str(mixed), "--output", str(tmp_path)) == 2
    assert "this is a folder" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert prepare("--input", str(mixed), "--output", str(tmp_path / "file")) == 2
    assert "this is a file" in capsys.readouterr().err
    assert prepare("--input", str(mixed), "--output", str(tmp_path / "file/below"), "--resolution", "64") == 2
    assert "check the path" in capsys.readouterr().err


@pytest.mark.parametrize(
    "pattern",
    [
        "{number:0>3000000}",
        "{number.__class__}",
        "{name!r}",
        "{number:{name}}",
        "{name:9999}",
        "{0}",
        "{",
        "{name}" * 500,
    ],
)
def test_patterns_cannot_reach_or_fill_anything(pattern, mixed, tmp_path, capsys):
    assert prepare("--input", str(mixed), "--output", str(tmp_path / "out"), "--rename", pattern) == 2
    error = capsys.readouterr().err
    assert "write for example brand_{number:03d}" in error and len(error) < 500
    assert not (tmp_path / "out").exists()
    assert (
        label("--input", str(mixed), "--template", pattern.replace("name", "subject").replace("number", "scene")) == 2
    )
    assert "in braces, and nothing else" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{number:03d}", "001"), ("{number:0>4}_{name:.1}", "0001_a"), (".{name}", "a"), ("COM{number}", "_COM1"),
        ("{name}?\n", "a__"), ("{{{name}}}", "{a}"),
    ],
)  # fmt: skip
def test_patterns_that_are_meant_give_names_that_every_system_writes(pattern, expected, mixed, tmp_path):
    out = tmp_path / "out"
    assert prepare("--input", str(mixed), "--output", str(out), "--rename", pattern, "--resolution", "64") == 0
    assert (out / f"{expected}.png").is_file()


def test_long_names_are_prepared(tmp_path):
    (tmp_path / "in").mkdir()
    names = [f"{'鞋' * 80}{number}.jpg" for number in (1, 2)]
    for seed, name in enumerate(names):
        (tmp_path / "in" / name).write_bytes(jpeg(seed))
        (tmp_path / "in" / name).with_suffix(".txt").write_text(f"caption {seed}")
    assert prepare("--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--resolution", "64") == 0
    store = CaptionStore.open(tmp_path / "out")
    assert [store.entry(name).prompt for name in sorted(store.names, key=lambda name: store.entry(name).prompt)] == [
        "caption 0",
        "caption 1",
    ]
    assert all(len(os.fsencode(name)) <= 200 for name in store.names)


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path


@pytest.mark.parametrize("top", ["shop/", "shop/final/", ""])
@pytest.mark.parametrize("packed", [True, False])
def test_a_top_folder_with_its_table_keeps_its_captions(top, packed, tmp_path):
    members = {f"{top}{name}.jpg": jpeg(seed) for seed, name in enumerate(("a", "b", "sub/c", "d"))}
    members[f"{top}metadata.csv"] = "filename,prompt\na.jpg,a shoe\nsub/c.jpg,a boot\n"
    members |= {f"{top}b.txt": "from beside", "__MACOSX/shop/._a.jpg": b"x"}
    source = zipped(tmp_path / "set.zip", members)
    if not packed:
        zipfile.ZipFile(source).extractall(tmp_path / "set")
        source = tmp_path / "set"
    assert prepare("--input", str(source), "--output", str(tmp_path / "out"), "--resolution", "64") == 0
    store = CaptionStore.open(tmp_path / "out")
    assert {name: store.entry(name).prompt for name in store.names} == {
        "a.png": "a shoe", "b.png": "from beside", "d.png": "", "sub/c.png": "a boot",
    }  # fmt: skip


@pytest.mark.parametrize("packed", [True, False])
def test_a_folder_that_repeats_keeps_its_meaning(packed, tmp_path, capsys):
    source = zipped(tmp_path / "set.zip", {"10_red shoe/a.jpg": jpeg(), "10_red shoe/b.jpg": jpeg(2)})
    home = tmp_path / "set/10_red shoe"
    zipfile.ZipFile(source).extractall(tmp_path / "set")
    source = source if packed else home
    assert prepare("--input", str(source), "--output", str(tmp_path / "out"), "--resolution", "64") == 0
    assert CaptionStore.open(tmp_path / "out").names == ["10_red shoe/a.png", "10_red shoe/b.png"]
    capsys.readouterr()
    assert check("--input", str(home)) == 0
    output = capsys.readouterr().out
    assert "caption_missing" not in output and "have no caption" not in output
    assert "Folder names set the repeats of 2 images (10); num_repeats is not used." in output


def test_what_hides_in_a_zip_is_named(tmp_path):
    source = zipped(
        tmp_path / "set.zip",
        {
            "a.jpg": jpeg(), "plain": jpeg(2), "b.jpg.bak": jpeg(3), "more.zip": b"PK", "c.CR3": b"x",
            "notes.exe": b"MZ",
            "captions.jsonl": "{}", "meta.json": "{}", "aux.txt/d.jpg": jpeg(4), "plain/e.jpg": jpeg(5),
        },
    )  # fmt: skip
    done = archive.unpack(source, tmp_path / "into")
    assert sorted(done.names) == ["_aux.txt/d.jpg", "a.jpg", "captions.jsonl", "meta.json", "plain"]
    assert {one.name: one.reason.split(";")[0] for one in done.skipped} == {
        "b.jpg.bak": "holds an image (JPEG) under the extension .bak, which is not read",
        "more.zip": "is an archive of its own",
        "c.CR3": "is a camera raw file, which is not read",
        "notes.exe": "is no image and no caption",
        "plain/e.jpg": "lies in a folder that has the name of a file",
    }


@pytest.mark.parametrize(
    ("name", "written"),
    [("红鞋 1", "gbk"), ("東京", "gb18030"), ("Müller café", "cp437"), ("niño", "cp437"), ("手机", "utf-8")],
)
def test_names_in_a_zip_without_an_encoding(name, written, tmp_path):
    content = name.encode(written)
    placeholder = "x" * len(content)
    source = zipped(tmp_path / "set.zip", {f"{placeholder}.jpg": jpeg()})
    source.write_bytes(source.read_bytes().replace(placeholder.encode(), content))
    if written == "utf-8":
        data = bytearray(source.read_bytes())
        for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            data[data.index(signature) + offset + 1] |= 0x08
        source.write_bytes(bytes(data))
    assert archive.unpack(source, tmp_path / "into").names == [f"{name}.jpg"]


def test_a_zip_with_a_broken_name_is_a_sentence(tmp_path, capsys):
    source = zipped(tmp_path / "set.zip", {"é.jpg": jpeg()})
    source.write_bytes(source.read_bytes().replace("é".encode(), b"\xff\xfe"))
    assert prepare("--input", str(source), "--output", str(tmp_path / "out")) == 2
    assert "not a zip file that can be read" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_pipe_of_any_encoding_takes_any_name(encoding, tmp_path):
    home = tmp_path / "红鞋"
    home.mkdir()
    Image.new("RGB", (1, 400)).save(home / "\U0001f45f é.png")
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, ROOT / "check_dataset.py", "--input", home], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert json.loads(last.decode("utf-8"))["pictures"][0]["name"] == "\U0001f45f é.png"


def test_a_name_that_fails_later_stops_the_dry_run(mixed, tmp_path, capsys):
    (tmp_path / "a.yaml").write_text(f"train_data_dir: '{mixed}'\nbase_model: m\noutput_dir: '{tmp_path / 'out'}'\n")
    for name in ("鞋" * 80, "brand.safetensors", "nul"):
        assert train.main(["--config", str(tmp_path / "a.yaml"), "--set", f"output_name={name}", "--dry-run"]) == 2
        assert "output_name is" in capsys.readouterr().err
