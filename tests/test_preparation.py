"""Photos made ready, and archives taken apart: real files, hostile ones among them."""

import io
import json
import stat
import struct
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lora_scripts_ext import config as configs
from lora_scripts_ext.captions.store import CaptionStore
from lora_scripts_ext.commands import prepare_dataset
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.images import bucket
from lora_scripts_ext.images.excluded import HIDDEN
from lora_scripts_ext.preparation import archive, prepare, subject, upload
from lora_scripts_ext.preparation.prepare import PreparationOptions

from . import segmentation_model
from .photos import photo
from .segmentation_model import needs_rembg

GRID = bucket.grid(configs.from_dict({"train_data_dir": "a", "base_model": "b", "output_dir": "c"}), [256], 8)


def jpeg(image=None) -> bytes:
    packed = io.BytesIO()
    (image or photo(1, side=80)).save(packed, format="JPEG")
    return packed.getvalue()


def product(left: float, top: float, size=(900, 600)) -> Image.Image:
    """A dark box of a fifth of the height on a light, slightly uneven backdrop."""
    rng = np.random.default_rng(4)
    image = Image.fromarray(rng.integers(224, 236, (size[1], size[0], 3), dtype=np.uint8))
    x, y, side = round(left * size[0]), round(top * size[1]), size[1] // 5
    ImageDraw.Draw(image).rectangle([x, y, x + side, y + side], fill=(40, 20, 60))
    return image


def snapshot(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.mark.parametrize(("left", "top"), [(0.1, 0.1), (0.7, 0.6), (0.4, 0.4)])
def test_the_subject_is_located(left, top):
    box = subject.box(product(left, top))
    assert box == pytest.approx((left, top, left + 600 / 5 / 900, top + 0.2), abs=0.03)


def test_without_a_subject_everything_is_one():
    assert subject.box(Image.new("RGB", (60, 40), "white")) == (0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize("crop", ["smart", "centre", "pad", "none"])
def test_an_image_gets_the_size_that_training_would_choose(crop, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    product(0.02, 0.4, (2400, 400)).save(source / "wide.png")
    before = snapshot(source)
    result = prepare.prepare(source, ["wide.png"], tmp_path / "out", GRID, PreparationOptions(crop=crop))
    assert (result.copies, result.skipped) == ({"wide.png": "wide.png"}, [])
    image = Image.open(tmp_path / "out" / "wide.png")
    chosen = GRID.choose((2400, 400))
    assert image.size == (chosen if crop != "none" else (round(2400 * chosen[1] / 400), chosen[1]))
    dark = (np.asarray(image.convert("L")) < 100).mean() * image.width * image.height / (image.height / 5) ** 2
    # The box lies at the left end: only the middle's crop loses it.
    assert (dark < 0.2) == (crop == "centre")
    if crop == "pad":
        assert np.asarray(image)[0].min() == 255
    assert snapshot(source) == before


def test_images_are_upright_in_srgb_and_on_white(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (300, 200), "red").save(source / "turned.jpg", exif=exif)
    Image.new("RGBA", (300, 300), (0, 0, 255, 0)).save(source / "clear.png")
    Image.new("CMYK", (300, 300), (0, 255, 255, 0)).save(source / "print.jpg")
    (source / "broken.webp").write_bytes(b"RIFF")
    names = sorted(path.name for path in source.iterdir())
    result = prepare.prepare(source, names, tmp_path / "out", GRID, PreparationOptions(crop="none", kind="jpg"))
    assert [one.name for one in result.skipped] == ["broken.webp"]
    turned = Image.open(tmp_path / "out" / "turned.jpg")
    assert turned.height > turned.width
    assert "exif" not in turned.info
    assert Image.open(tmp_path / "out" / "clear.jpg").getpixel((5, 5)) == (255, 255, 255)
    assert Image.open(tmp_path / "out" / "print.jpg").mode == "RGB"


def test_new_names_never_collide_and_captions_are_copied_with_images(tmp_path):
    source = tmp_path / "in"
    for name in ("a.png", "a.jpg", "A.webp", "sub/a.png"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        photo(1, side=64).save(source / name)
    (source / "a.txt").write_text("words")
    names = ["A.webp", "a.jpg", "a.png", "sub/a.png"]
    kept = prepare.prepare(source, names, tmp_path / "kept", GRID, PreparationOptions()).copies
    assert kept == {"A.webp": "A.png", "a.jpg": "a_2.png", "a.png": "a_3.png", "sub/a.png": "sub/a.png"}
    assert (tmp_path / "kept" / "a_2.txt").read_text() == "words"
    counted = prepare.prepare(
        source, names, tmp_path / "n", GRID, PreparationOptions(rename="brand_{number:03d}", kind="jpg")
    ).copies
    assert list(counted.values()) == ["brand_001.jpg", "brand_002.jpg", "brand_003.jpg", "sub/brand_004.jpg"]


def test_existing_results_are_not_computed_again_and_a_stop_loses_nothing(tmp_path, monkeypatch):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    names = [f"{index}.jpg" for index in range(5)]
    for index, name in enumerate(names):
        (source / name).write_bytes(jpeg(photo(index, side=64)))

    class Stop(Exception):
        pass

    def stop(done, total, what):
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        prepare.prepare(source, names, out, GRID, PreparationOptions(), progress=stop)
    shaped = []
    real = prepare._shaped
    monkeypatch.setattr(prepare, "_shaped", lambda *arguments: shaped.append(arguments) or real(*arguments))
    prepare.prepare(source, names, out, GRID, PreparationOptions())
    assert len(shaped) == 2
    (source / "1.jpg").write_bytes(jpeg(photo(9, side=64)))
    prepare.prepare(source, names, out, GRID, PreparationOptions())
    assert len(shaped) == 3
    prepare.prepare(source, names, out, GRID, PreparationOptions(crop="pad"))
    assert len(shaped) == 8
    assert list(out.rglob("*.tmp")) == []


@pytest.mark.parametrize(
    ("options", "out", "sentence"),
    [
        (PreparationOptions(rename="brand"), "out", "needs {name} or {number}"),
        (PreparationOptions(rename="{colour}"), "out", "write for example"),
        (PreparationOptions(rename="../{name}"), "out", "no slash"),
        (PreparationOptions(kind="gif"), "out", "take one of png, jpg, webp"),
        (PreparationOptions(), "in/below", "must lie outside of"),
        (PreparationOptions(), "in", "must lie outside of"),
        (PreparationOptions(), "full", "holds other things"),
    ],
)
def test_a_mistake_is_a_sentence_and_writes_nothing(options, out, sentence, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match=sentence.replace("{", r"\{").replace("}", r"\}")):
        prepare.prepare(tmp_path / "in", [], tmp_path / out, GRID, options)
    assert snapshot(tmp_path) == before


@needs_rembg
def test_a_background_is_removed_with_the_model_that_is_there_and_none_is_fetched(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    product(0.4, 0.4).save(tmp_path / "in" / "box.png")
    options = PreparationOptions(crop="none", without_background=True)
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "home"))
    with pytest.raises(UserError, match=r"isnet-general-use.onnx is not on this machine; put it into .*home"):
        prepare.prepare(tmp_path / "in", ["box.png"], tmp_path / "out", GRID, options)
    assert not (tmp_path / "out").exists()
    segmentation_model.write(tmp_path / "home")
    result = prepare.prepare(tmp_path / "in", ["box.png"], tmp_path / "out", GRID, options)
    assert result.copies == {"box.png": "box.png"}
    pixels = np.asarray(Image.open(tmp_path / "out" / "box.png").convert("L"))
    height, width = pixels.shape
    # The backdrop was no brighter than 236; the box is where it was.
    assert np.median(pixels) > 245
    assert pixels[round(0.5 * height), round(0.46 * width)] < 60


def test_without_rembg_the_error_names_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rembg", None)
    with pytest.raises(UserError, match="pip install rembg"):
        prepare.prepare(tmp_path, [], tmp_path.with_name("out"), GRID, PreparationOptions(without_background=True))


def packed(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in members:
            opened.writestr(name, data)
    return path


def test_a_zip_gives_its_images_and_captions_and_nothing_else(tmp_path):
    image = jpeg()
    link = zipfile.ZipInfo("link.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    members = [
        ("10_cups/a.jpg", image), ("10_cups/a.txt", b"a cup"), ("metadata.csv", b"filename,prompt\n"),
        ("../out.jpg", image), ("/root.jpg", image), ("C:\\windows\\b.jpg", image), ("x\\..\\..\\c.jpg", image),
        ("run.exe", b"MZ"), ("__MACOSX/10_cups/._a.jpg", b"x"), (".DS_Store", b"x"), ("con.jpg", image),
        ("10_CUPS/A.JPG", image), ("q?.jpg", image), (link, b"/etc/passwd"),
    ]  # fmt: skip
    into = tmp_path / "deep" / "into"
    done = archive.unpack(packed(tmp_path / "set.zip", members), into)
    assert sorted(done.names) == ["10_cups/a.jpg", "10_cups/a.txt", "_con.jpg", "metadata.csv", "q_.jpg"]
    assert sorted(snapshot(into)) == sorted(done.names)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["into"]
    reasons = {one.name: one.reason for one in done.skipped}
    assert len(reasons) == 7
    assert reasons["../out.jpg"] == reasons["/root.jpg"] == "has a path that leads out of the folder"
    assert reasons["run.exe"] == "is no image and no caption"
    assert reasons["link.jpg"] == "is a link"
    assert reasons["10_CUPS/A.JPG"] == "has the name of another file in it"


def test_names_of_a_chinese_windows_are_read(tmp_path):
    path = packed(tmp_path / "set.zip", [("AAAA.jpg", jpeg())])
    path.write_bytes(path.read_bytes().replace(b"AAAA.jpg", "手机".encode("gbk") + b".jpg"))
    assert archive.unpack(path, tmp_path / "into").names == ["手机.jpg"]


def test_a_bomb_is_stopped_while_it_is_read(tmp_path, monkeypatch):
    bomb = [("bomb.png", b"\0" * (64 << 20)), ("a.jpg", jpeg())]
    path = packed(tmp_path / "set.zip", bomb)
    # It also lies about its size, in both of its headers.
    lied = path.read_bytes().replace(struct.pack("<I", 64 << 20), struct.pack("<I", 1000))
    path.write_bytes(lied)
    into = tmp_path / "into"
    done = archive.unpack(path, into)
    assert done.names == ["a.jpg"]
    assert sorted(snapshot(into)) == ["a.jpg"]
    assert [one.name for one in done.skipped] == ["bomb.png"]
    honest = archive.unpack(packed(tmp_path / "honest.zip", bomb), tmp_path / "other")
    assert "zip bomb" in honest.skipped[0].reason
    monkeypatch.setattr(archive, "_MOST_FILES", 1)
    with pytest.raises(UserError, match="at most 1 are taken"):
        archive.unpack(path, tmp_path / "third")


def test_what_is_no_plain_zip_is_a_sentence(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"Rar!")
    with pytest.raises(UserError, match="not a zip file that can be read"):
        archive.unpack(tmp_path / "a.zip", tmp_path / "into")
    locked = packed(tmp_path / "b.zip", [("a.jpg", jpeg())])
    data = bytearray(locked.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    locked.write_bytes(bytes(data))
    with pytest.raises(UserError, match="it has a password"):
        archive.unpack(locked, tmp_path / "into")
    with pytest.raises(UserError, match="no image in it"):
        archive.unpack(packed(tmp_path / "c.zip", [("a.exe", b"")]), tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_a_damaged_member_is_skipped_and_the_rest_is_extracted(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes()
    path = packed(tmp_path / "set.zip", [("a.jpg", noise), ("b.jpg", jpeg())])
    path.write_bytes(path.read_bytes().replace(noise[100:110], b"0123456789"))
    done = archive.unpack(path, tmp_path / "into")
    assert done.names == ["b.jpg"]
    assert "is damaged" in done.skipped[0].reason
    assert sorted(snapshot(tmp_path / "into")) == ["b.jpg"]


def test_the_command_takes_a_zip_to_a_folder_that_can_be_trained_on(tmp_path, capsys):
    members = [(f"photos/cup {index}.jpg", jpeg(photo(index, side=300))) for index in range(3)]
    members.append(("metadata.csv", b'filename,prompt\nphotos/cup 1.jpg,"a cup, red"\n'))
    source = packed(tmp_path / "set.zip", members)
    out = tmp_path / "ready"
    arguments = ["--input", str(source), "--output", str(out), "--resolution", "256", "--rename", "brand_{number:02d}"]
    assert prepare_dataset.main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["made"] == 3
    store = CaptionStore.open(out)
    assert store.names == [f"photos/brand_0{number}.png" for number in (1, 2, 3)]
    assert [store.entry(name).prompt for name in store.names] == ["", "a cup, red", ""]
    assert {Image.open(out / name).size for name in store.names} == {(256, 256)}
    assert (out / HIDDEN / "prepared.json").is_file()
    assert prepare_dataset.main(["--input", str(tmp_path / "no"), "--output", str(out)]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_dropped_files_never_replace_each_other_and_are_stored_once(tmp_path):
    into = tmp_path / "into"
    for name, seed in (("one/a.jpg", 1), ("two/a.jpg", 2), ("three/a.jpg", 1)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(jpeg(photo(seed, side=64)))
    sources = [tmp_path / name / "a.jpg" for name in ("one", "two", "three")]
    quiet = {"progress": lambda *state: None, "check": lambda: None}
    assert upload.import_files(sources, into, **quiet).names == ["a.jpg", "a_2.jpg", "a.jpg"]
    assert sorted(snapshot(into)) == ["a.jpg", "a_2.jpg"]
    assert (into / "a_2.jpg").read_bytes() == sources[1].read_bytes()
