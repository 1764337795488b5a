"""Folders, metadata.csv, sidecars and masks become examples; the rest is reported."""

import os
import unicodedata

import pytest
from PIL import Image

from lora_scripts_ext.config import from_dict
from lora_scripts_ext.dataset import source
from lora_scripts_ext.errors import UserError


@pytest.fixture
def room(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path


def put(path, size=(64, 64), text=None, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)
    if text is not None:
        path.with_suffix(".txt").write_text(text, encoding="utf-8")
    return path


def read(room, **values):
    base = {"train_data_dir": str(room / "in"), "base_model": "m", "output_dir": str(room / "out")}
    return source.read(from_dict({**base, **values}), [64], 4)


def captions(dataset):
    return {example.name: example.caption for example in dataset.examples}


def reasons(dataset):
    return {one.name: one.reason for one in dataset.skipped}


def test_nested_folders_in_posix_order(room):
    for name in ("b/z.png", "a.JPG", "b.png", "B.PNG", "b/c/x.webp"):
        put(room / "in" / name)
    assert [example.name for example in read(room).examples] == ["B.PNG", "a.JPG", "b.png", "b/c/x.webp", "b/z.png"]


def test_hidden_and_own_folders_are_passed_over(room):
    for name in ("a.png", ".hidden/b.png", ".c.png", "out/d.png", "cache/e.png", "masks/f.png", "reg/g.png"):
        put(room / "in" / name)
    inside = {"output_dir": "out", "cache_dir": "cache", "mask_dir": "masks", "reg_data_dir": "reg"}
    dataset = read(room, **{key: str(room / "in" / name) for key, name in inside.items()})
    assert [(one.name, one.regularisation) for one in dataset.examples] == [("a.png", False), ("g.png", True)]
    assert not dataset.skipped


def test_precedence_of_captions(room):
    put(room / "in/csv.png", text="from txt")
    put(room / "in/txt.png", text="from txt")
    (room / "in/txt.caption").write_text("from caption")
    put(room / "in/cap.png")
    (room / "in/cap.caption").write_text("from caption\n second  line")
    put(room / "in/5_red shoe/side.png", text="from txt")
    put(room / "in/5_red shoe/folder.png")
    put(room / "in/none.png")
    put(room / "in/empty.png", text="sidecar wins over an empty cell")
    (room / "in/metadata.csv").write_text("csv.png,from csv\nempty.png,\n")
    dataset = read(room)
    assert captions(dataset) == {
        "csv.png": "from csv",
        "txt.png": "from txt",
        "cap.png": "from caption second line",
        "5_red shoe/side.png": "from txt",
        "5_red shoe/folder.png": "red shoe",
        "none.png": "",
        "empty.png": "sidecar wins over an empty cell",
    }
    assert {one.name: one.repeats for one in dataset.examples}["5_red shoe/side.png"] == 5
    assert captions(read(room, trigger_word="acme"))["none.png"] == "acme"
    assert captions(read(room, trigger_word="acme"))["csv.png"] == "acme, from csv"


def test_repeats(room):
    for name in ("a.png", "4_x/b.png", "4_x/deep/c.png", "0_y/d.png", "20240131_z/e.png", "2024_shoot/f.png"):
        put(room / "in" / name)
    dataset = read(room, num_repeats=3)
    assert {one.name: one.repeats for one in dataset.examples} == {
        "a.png": 3, "4_x/b.png": 4, "4_x/deep/c.png": 4, "20240131_z/e.png": 3, "2024_shoot/f.png": 2024,
    }  # fmt: skip
    assert reasons(dataset) == {"0_y/d.png": "is in a folder that repeats it 0 times"}
    assert len(dataset.warnings) == 2 and "2024_shoot" in dataset.warnings[1]


ROWS = {
    "a.png": "red, dress",
    "sub/b.png": "一只猫\N{FULLWIDTH COMMA}坐着",
    "c.png": 'say "hi", twice',
    "中文.png": "狗",
}
QUOTED = 'a.png,"red, dress"\r\nsub/b.png,一只猫\N{FULLWIDTH COMMA}坐着\r\nc.png,"say ""hi"", twice"\r\n中文.png,狗\r\n'
BARE = 'a.png,red, dress\nsub\\b.png,一只猫\N{FULLWIDTH COMMA}坐着\n\nC.PNG,say "hi", twice\n./中文.png , 狗 \n'


@pytest.mark.parametrize("header", ["", "filename,prompt\n", "file_name,text\r\n"])
@pytest.mark.parametrize("rows", [QUOTED, BARE])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_every_format_of_a_metadata_csv(room, header, rows, encoding):
    for name in ROWS:
        put(room / "in" / name)
    (room / "in/metadata.csv").write_bytes((header + rows).encode(encoding))
    dataset = read(room)
    assert captions(dataset) == ROWS
    assert not dataset.skipped


def test_metadata_elsewhere_names_relative_to_either_folder(room):
    put(room / "in/sub/a.png")
    put(room / "in/sub/b.png")
    csv = room / "in/sub/list.csv"
    csv.write_text("a.png,near the csv\nsub/b.png,near the folder\n")
    assert list(captions(read(room, metadata_path=str(csv))).values()) == ["near the csv", "near the folder"]
    outside = room / "list.csv"
    outside.write_text("in/sub/a.png,one\nsub/b.png,two\n")
    assert list(captions(read(room, metadata_path=str(outside))).values()) == ["one", "two"]


def test_a_stray_quote_does_not_swallow_the_next_rows(room):
    for name in ("a.png", "b.png", "c.png"):
        put(room / "in" / name)
    (room / "in/metadata.csv").write_text('a.png,"5 inch, tall\nb.png,"x, y"\nc.png,z\n')
    assert captions(read(room)) == {"a.png": '"5 inch, tall', "b.png": "x, y", "c.png": "z"}


def test_multi_line_cell(room):
    put(room / "in/a.png")
    (room / "in/metadata.csv").write_text('a.png,"one,\ntwo"\n')
    assert captions(read(room)) == {"a.png": "one, two"}


def test_decomposed_accents_are_found(room):
    put(room / "in" / unicodedata.normalize("NFD", "café.png"))
    (room / "in/metadata.csv").write_text(unicodedata.normalize("NFC", "café.png,cup\n"), encoding="utf-8")
    assert list(captions(read(room)).values()) == ["cup"]


def test_rows_without_an_image_are_skipped_with_a_reason(room):
    put(room / "in/a.png")
    put(room / "secret.png")
    rows = "gone.png,x\n../secret.png,x\n" + str(room / "secret.png") + ",x\n" + "n" * 300 + ",x\nin/../a.png,kept\n"
    (room / "in/metadata.csv").write_text(rows)
    dataset = read(room)
    assert captions(dataset) == {"a.png": "kept"}
    skipped = reasons(dataset)
    assert skipped["gone.png"] == "is listed in metadata.csv but there is no such image file"
    outside = "is listed in metadata.csv but lies outside the folder of the images"
    assert skipped["../secret.png"] == skipped[str(room / "secret.png")] == outside
    assert len(skipped) == 4


def test_duplicate_row_warns_and_the_last_counts(room):
    put(room / "in/a.png")
    (room / "in/metadata.csv").write_text("a.png,one\na.png,two\n")
    dataset = read(room)
    assert captions(dataset) == {"a.png": "two"}
    assert dataset.warnings == ("metadata.csv lists a.png more than once; the last row counts.",)
    (room / "in/metadata.csv").write_text("a.png,one\na.png,\n")
    assert captions(read(room)) == {"a.png": ""}


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_that_leave_are_skipped(room):
    put(room / "secret/s.png")
    put(room / "in/a.png")
    (room / "in/link.png").symlink_to(room / "secret/s.png")
    (room / "in/folder").symlink_to(room / "secret")
    (room / "in/inner.png").symlink_to(room / "in/a.png")
    (room / "in/metadata.csv").write_text("link.png,x\nfolder/s.png,x\n")
    dataset = read(room)
    assert [example.name for example in dataset.examples] == ["a.png", "inner.png"]
    assert set(reasons(dataset)) == {"link.png", "folder", "folder/s.png"}
    assert "leaves train_data_dir" in reasons(dataset)["link.png"]
    assert "outside" in reasons(dataset)["folder/s.png"]


def test_damaged_headers_are_skipped_by_name(room):
    put(room / "in/a.png")
    (room / "in/zero.jpg").touch()
    (room / "in/html.png").write_text("<html>")
    assert reasons(read(room)) == {
        "zero.jpg": "is empty (0 bytes)",
        "html.png": "is damaged, or not in a format that this Pillow reads",
    }


def test_unreadable_sidecar_warns(room):
    put(room / "in/a.png")
    (room / "in/a.txt").write_bytes(b"\xff\xff\xff")
    dataset = read(room)
    assert captions(dataset) == {"a.png": ""}
    assert "a.png" in dataset.warnings[0]


def test_sidecar_in_gb18030(room):
    path = put(room / "in/a.png")
    path.with_suffix(".txt").write_bytes("红色跑鞋".encode("gb18030"))
    assert captions(read(room)) == {"a.png": "红色跑鞋"}


def test_geometry_of_an_example(room):
    put(room / "in/a.png", size=(900, 500))
    (example,) = read(room, flip=True).examples
    assert (example.width, example.height, example.bucket, example.resized) == (900, 500, (80, 48), (86, 48))
    assert [(view.left, view.top, view.flip) for view in example.views] == [(3, 0, False), (3, 0, True)]


def test_bucket_counts(room):
    for name in "abc":
        put(room / "in" / f"{name}.png", size=(100, 100) if name < "c" else (900, 500))
    assert read(room).buckets() == {(64, 64): 2, (80, 48): 1}


def test_masks_by_relative_stem(room):
    put(room / "in/sub/a.png")
    put(room / "in/b.png")
    mask = put(room / "masks/sub/a.JPG", mode="L")
    dataset = read(room, masked_loss="files", mask_dir=str(room / "masks"))
    assert [example.mask for example in dataset.examples] == [None, mask]
    assert dataset.warnings[1:] == (f"1 of 2 images have no mask in {room / 'masks'} and count as a whole: b.png",)


def test_masks_that_match_nothing_or_cannot_be_read_are_reported(room):
    for name in ("a", "b", "c"):
        put(room / "in" / f"{name}.png")
    (room / "in/damaged.png").write_bytes(b"x")
    for name in ("a.png", "a.jpg", "damaged.png", "stray.png"):
        put(room / "masks" / name, mode="L")
    (room / "masks/b.png").write_bytes(b"x")
    (room / "masks/c.psd").write_bytes(b"8BPS")
    folder = room / "masks"
    dataset = read(room, masked_loss="files", mask_dir=str(folder))
    assert [(one.name, one.mask) for one in dataset.examples] == [("a.png", folder / "a.jpg"), ("c.png", None)]
    skipped = reasons(dataset)
    assert skipped.keys() == {"damaged.png", "b.png", f"{folder.as_posix()}/a.png", f"{folder.as_posix()}/c.psd"}
    assert skipped["b.png"].startswith(f"has a mask, {folder / 'b.png'}, that is damaged")
    assert "a.jpg is taken" in skipped[f"{folder.as_posix()}/a.png"]
    assert [warning for warning in dataset.warnings if "stray.png" in warning] == [
        f"1 of the masks in {folder} belong to no image and are not used; give each the name of its image: stray.png"
    ]
    for name in ("a.jpg", "c.psd"):
        (folder / name).unlink()
    for name in ("a.png", "c.png"):
        (folder / name).write_bytes(b"x")
    with pytest.raises(UserError, match="no image has a mask that can be read"):
        read(room, masked_loss="files", mask_dir=str(folder))


@pytest.mark.parametrize("key", ["train_data_dir", "reg_data_dir"])
def test_a_folder_that_repeats_may_be_the_dataset_itself(room, key):
    put(room / "in/plain.png", text="x")
    home = room / "sets/10_red shoe"
    put(home / "a.png")
    put(home / "b.png", text="written")
    put(home / "sub/c.png")
    put(home / "3_blue boot/d.png")
    dataset = read(room, **{"num_repeats": 2, key: str(home)})
    own = [one for one in dataset.examples if one.regularisation == (key == "reg_data_dir")]
    assert [(one.name, one.repeats, one.caption) for one in own] == [
        ("3_blue boot/d.png", 3, "blue boot"),
        ("a.png", 10, "red shoe"),
        ("b.png", 10, "written"),
        ("sub/c.png", 10, "red shoe"),
    ]
    assert dataset.warnings == ()


def test_folders_that_are_named_after_a_year_are_pointed_out(room):
    put(room / "2024_shoes/a.png")
    put(room / "2024_shoes/3_boots/b.png")
    dataset = read(room, train_data_dir=str(room / "2024_shoes"))
    assert [one.repeats for one in dataset.examples] == [3, 2024]
    assert len(dataset.warnings) == 1 and "2024_shoes are shown 2024 times" in dataset.warnings[0]
    assert read(room, train_data_dir=str(room / "2024_shoes/3_boots"), num_repeats=5000).warnings == ()


def test_regularisation_has_no_trigger_and_its_own_captions(room):
    put(room / "in/a.png", text="x")
    put(room / "reg/2_dog/a.png")
    dataset = read(room, trigger_word="acme", reg_data_dir=str(room / "reg"))
    assert [(one.caption, one.regularisation, one.repeats) for one in dataset.examples] == [
        ("acme, x", False, 1),
        ("dog", True, 2),
    ]


@pytest.mark.parametrize("key", ["train_data_dir", "reg_data_dir", "mask_dir"])
def test_missing_folder_names_key_and_path(room, key):
    put(room / "in/a.png")
    with pytest.raises(UserError, match=rf"^{key}: there is no folder .*nowhere"):
        read(room, masked_loss="files", **{"mask_dir": str(room), key: str(room / "nowhere")})


def test_missing_metadata_and_empty_folder(room):
    with pytest.raises(UserError, match=r"^train_data_dir: there is no image in "):
        read(room)
    (room / "in/bad.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"no image in .* can be used; for example bad.png is damaged"):
        read(room)
    put(room / "in/a.png")
    with pytest.raises(UserError, match=r"^metadata_path: there is no file .*list.csv"):
        read(room, metadata_path=str(room / "list.csv"))
    (room / "list.csv").write_bytes(b"\xff\xff\xff\xff")
    with pytest.raises(UserError, match=r"list.csv: line 1 is neither UTF-8, UTF-16 nor clearly"):
        read(room, metadata_path=str(room / "list.csv"))
