"""Tables of captions as exporters write them: every caption is used, or reported as not used."""

import json

import pytest
from PIL import Image

from lora_scripts_ext.config import from_dict
from lora_scripts_ext.dataset import source
from lora_scripts_ext.errors import UserError


@pytest.fixture
def folder(tmp_path):
    return put(tmp_path / "in", "a.png", "b.png")


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64)).save(folder / name)
    return folder


def read(folder, **values):
    config = {"train_data_dir": str(folder), "base_model": "m", "output_dir": str(folder.parent / "out"), **values}
    return source.read(from_dict(config), [64], 8)


def captions(folder, table, name="metadata.csv", **values):
    (folder / name).write_bytes(table if isinstance(table, bytes) else table.encode())
    return {one.name: one.caption for one in read(folder, **values).examples}


def skipped(folder):
    return {one.name: one.reason for one in read(folder).skipped}


BOTH = {"a.png": "red, dress", "b.png": "blue"}


@pytest.mark.parametrize(
    "table",
    [
        'filename;prompt\na.png;"red, dress"\nb.png;blue\n',
        "filename;prompt\na.png;red, dress\nb.png;blue\n",
        "a.png;red, dress\nb.png;blue\n",
        "file_name\ttext\na.png\tred, dress\nb.png\tblue\n",
        "a.png\tred, dress\nb.png\tblue",
        "sep=;\nfilename;prompt\na.png;red, dress\nb.png;blue\n",
        ',file_name,caption\n0,a.png,"red, dress"\n1,b.png,blue\n',
        ",file_name,caption\n0,a.png,red, dress\n1,b.png,blue\n",
        'Unnamed: 0,image,caption\n0,a.png,"red, dress"\n1,b.png,blue\n',
        '0,a.png,"red, dress"\n1,b.png,blue\n',
        'prompt,filename\n"red, dress",a.png\nblue,b.png\n',
        "prompt,filename\nred, dress,a.png\nblue,b.png\n",
        'score,Caption , File Name,source\n1,"red, dress",a.png,web\n2,blue,b.png,shop\n',
        'id,image,tags,rating\n7,a.png,"red, dress",5\n8,b.png,blue,4\n',
        'name,image_path,text\nshoe,a.png,"red, dress"\nhat,b.png,blue\n',
        "filename,tags,rating\r\na.png,\"red, dress\",5\r\nb.png,blue,4\r\n",
        "filename,prompt\ra.png,red, dress\rb.png,blue\r",
        '\ufeffFilename,Prompt\n\n"a.png", "red, dress" \n,\nb.png,blue\n\n',
        'Bild,caption\na.png,"red, dress"\nb.png,blue\n',
        'filename,prompt,note\na.png,"red,\ndress","one\ntwo"\nb.png,blue,\n',
        'filename,prompt,rating\na.png,"red, dress",5,,\nb.png,blue\n',
        "a,red, dress\nb,blue\n",
        "文件名,描述,价格\na.png,\"red, dress\",5\nb.png,blue,6\n",
    ],
)  # fmt: skip
def test_every_dialect_gives_the_same_captions(folder, table):
    assert captions(folder, table) == BOTH
    assert not skipped(folder)


@pytest.mark.parametrize(
    "table", ["filename,rating\na.png,5\n", "image;price;weight\na.png;5;2\n", "Bild,Text2\na.png,x\n"]
)
def test_a_column_that_is_no_caption_never_becomes_one(folder, table):
    with pytest.raises(UserError, match=r"metadata.csv: it has no caption column, only .*; name one of them prompt,"):
        captions(folder, table)


@pytest.mark.parametrize("table", ['a.png,"red shoe",5\n', "a.png,red shoe,5\nb.png,blue,4\n", "1,a.png,red,2.5\n"])
def test_without_a_header_a_further_column_is_an_error(folder, table):
    with pytest.raises(UserError, match="columns and no header, so which one is the caption is not known"):
        captions(folder, table)


def test_a_field_after_a_quoted_caption_is_not_part_of_it(folder):
    assert captions(folder, 'filename,prompt\na.png,"red shoe",5\nb.png,blue\n')["a.png"] == "red shoe"
    assert "more fields than there are columns (line 2)" in read(folder).warnings[0]


def test_of_two_caption_columns_the_likelier_is_used_with_a_warning(folder):
    table = "filename,tags,caption\na.png,one,red\nb.png,two,blue\n"
    assert captions(folder, table) == {"a.png": "red", "b.png": "blue"}
    assert "metadata.csv: the column caption is the caption; tags is not used." in read(folder).warnings


def test_a_row_of_too_many_fields_is_not_guessed(folder):
    assert captions(folder, "filename,prompt,rating\na.png,red, dress,5\nb.png,blue,4\n") == {
        "a.png": "",
        "b.png": "blue",
    }
    assert skipped(folder) == {
        "a.png": "has 4 fields where there are 3 columns; put its caption in quotes (metadata.csv, line 2); it is not "
        "used"
    }


def test_an_open_quote_never_swallows_the_next_images(folder):
    table = 'filename,prompt,rating\na.png,"5 inch,3\nb.png,wide 6",4\n'
    assert captions(folder, table) == {"a.png": '"5 inch', "b.png": 'wide 6"'}


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (r"C:\photos\a.jpg", "a.jpg"),
        (r"\\server\shop\2024\a.jpg", "a.jpg"),
        ("/home/someone/photos/A.JPG", "a.jpg"),
        ("file:///C:/photos/a.jpg", "a.jpg"),
        ("https://shop.example/images/a.jpg", "a.jpg"),
        (r"C:\photos\red\a.jpg", "red/a.jpg"),
        (r"C:\photos\a.jpg", "red/a.jpg"),
        ("a.jpg", "red/a.jpg"),
        ("photos/a.jpg", "a.jpg"),
        ("red/a.jpg", "2024/red/a.jpg"),
        ("a", "red/a.jpg"),
        (r"red\a", "red/a.jpg"),
    ],
)
def test_names_from_elsewhere_find_their_image(tmp_path, written, name):
    folder = put(tmp_path / "in", name, "other.png")
    assert captions(folder, f"filename,prompt\n{written},x\n")[name] == "x"
    assert not skipped(folder)


def test_a_name_that_two_images_have_is_not_guessed(tmp_path):
    folder = put(tmp_path / "in", "red/a.jpg", "blue/a.jpg", "c.jpg")
    assert set(captions(folder, "filename,prompt\na.jpg,x\nc.jpg,y\n").values()) == {"", "y"}
    assert "may be blue/a.jpg or red/a.jpg" in skipped(folder)["a.jpg"]
    table = "filename,prompt\nD:\\one\\c.jpg,x\nD:\\two\\c.jpg,y\nred/a.jpg,z\n"
    assert captions(folder, table)["c.jpg"] == ""
    assert len(skipped(folder)) == 2
    # The folder is named in full by another row; and a row of another folder is not moved into this one.
    table = "filename,prompt\nred/a.jpg,x\ngreen/a.jpg,y\n"
    assert captions(folder, table) == {"red/a.jpg": "x", "blue/a.jpg": "", "c.jpg": ""}
    assert set(skipped(folder)) == {"green/a.jpg"}


def test_a_file_beside_the_folder_is_another_image(tmp_path):
    put(tmp_path, "train/a.png")
    folder = put(tmp_path / "val", "a.png", "b.png")
    (tmp_path / "list.csv").write_text("filename,prompt\ntrain/a.png,x\nval/b.png,y\n")
    dataset = read(folder, metadata_path=str(tmp_path / "list.csv"))
    assert [one.caption for one in dataset.examples] == ["", "y"]
    assert [one.name for one in dataset.skipped] == ["train/a.png"]


def test_no_path_that_is_written_in_a_table_is_touched(folder, monkeypatch):
    touched = []
    stat = type(folder).stat
    monkeypatch.setattr(
        type(folder), "stat", lambda path, **options: touched.append(str(path)) or stat(path, **options)
    )
    captions(folder, "filename,prompt\n\\\\server\\share\\a.png,x\nb.png,y\n")
    assert not [path for path in touched if "server" in path]


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("filename;prompt\nx.png;red\ny.png;blue\n", "none of its 2 rows names an image in .* 'x.png', caption 'red' "
         r"\(delimiter semicolon, columns filename, prompt\)"),
        ("x.png,red\n", r"its row does not name an image .*\(line 1\) .*\(delimiter comma, no header\)"),
    ],
)  # fmt: skip
def test_a_table_of_other_images_is_an_error_that_shows_how_it_was_read(folder, table, sentence):
    with pytest.raises(UserError, match=sentence):
        captions(folder, table)


@pytest.mark.parametrize("table", ["", "filename,prompt\n", "\n\n"])
def test_an_empty_table_is_reported(folder, table):
    assert captions(folder, table) == {"a.png": "", "b.png": ""}
    assert "metadata.csv has no rows, so there are no captions in it." in read(folder).warnings


def test_rows_that_match_nothing_are_listed(folder):
    captions(folder, "filename,prompt\na.png,x\ngone.png,y\n,z\n")
    assert list(skipped(folder)) == ["gone.png", "line 4"]


JSONL = '{"file_name": "a.png", "text": "red, dress"}\n{"file_name": "b.png", "text": "blue"}\n'


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("metadata.jsonl", JSONL),
        ("metadata.jsonl", "\ufeff" + JSONL.replace("\n", "\r\n\r\n")),
        ("metadata.json", '[{"image": "a.png", "tags": ["red", "dress"]}, {"image": "b.png", "tags": ["blue"]}]'),
        ("metadata.json", '{"a.png": "red, dress", "b.png": "blue"}'),
        ("meta_cap.json", '{"a": {"caption": "red", "tags": "dress"}, "b.png": {"caption": "blue", "tags": ""}}'),
        ("meta_clean.json", '{"/data/set/a.png": {"tags": "red, dress"}, "C:\\\\x\\\\b": {"caption": "blue"}}'),
        ("metadata.tsv", "file\tprompt\na.png\tred, dress\nb.png\tblue\n"),
    ],
)
def test_json_of_hugging_face_and_kohya(folder, name, table):
    assert captions(folder, table, name) == BOTH
    named = folder.parent / f"other{name[name.index('.') :]}"
    (folder / name).rename(named)
    dataset = read(folder, metadata_path=str(named))
    assert {one.name: one.caption for one in dataset.examples} == BOTH
    assert not dataset.skipped


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ('{"file_name": "a.png", "text": "x"}\n{"file_name": "b.png", text}\n', "line 2 is not JSON"),
        ('{"file_name": "a.png", "label": 5}\n', "it has no captions, only the keys file_name, label"),
        ("[" * 100_000, "is not JSON"),
        ('["a.png"]', "line 1 is not a JSON object"),
        ("5", "must hold JSON objects"),
    ],
)
def test_json_that_cannot_be_used_is_a_sentence(folder, table, sentence):
    with pytest.raises(UserError, match=sentence):
        captions(folder, table, "metadata.jsonl")


def test_a_json_caption_that_is_no_text_is_reported(folder):
    assert captions(folder, '{"a.png": {"caption": 5}, "b.png": {"caption": "y"}}', "meta_cap.json")["a.png"] == ""
    assert skipped(folder)["a.png"].startswith(
        "has a caption that is not text; write it as text (meta_cap.json, line 1)"
    )


def test_characters_that_no_file_can_hold(folder):
    table = '{"file_name": "a.png", "text": "x\\ud83d"}\n{"file_name": "\\u0000\\ud83d", "text": "y"}\n'
    assert captions(folder, table, "metadata.jsonl") == {"a.png": "", "b.png": ""}
    assert set(skipped(folder)) == {"a.png", "?"}


def test_a_table_in_a_sub_folder_is_about_that_folder(tmp_path):
    folder = put(tmp_path / "in", "x/a.png", "x/deep/b.png", "y/a.png", "a.png")
    (folder / "x/metadata.csv").write_text("filename,prompt\na.png,one\nx/deep/b.png,two\n")
    (folder / "y/metadata.jsonl").write_text('{"file_name": "a.png", "text": "three"}')
    merged = captions(folder, "filename,prompt\na.png,four\nx/a.png,never\n")
    assert merged == {"a.png": "four", "x/a.png": "one", "x/deep/b.png": "two", "y/a.png": "three"}
    assert (
        "Tables of captions differ on x/a.png; the one named, or nearest to the image, is used."
        in read(folder).warnings
    )
    (tmp_path / "named.csv").write_text("filename,prompt\nx/a.png,named\n")
    named = read(folder, metadata_path=str(tmp_path / "named.csv"))
    assert [one.caption for one in named.examples] == ["", "named", "two", "three"]
    assert any("not read: metadata.csv" in text for text in named.warnings)


def test_tables_that_are_not_read_are_reported(folder):
    captions(folder, "filename,prompt\na.png,x\n")
    for name in ("captions.csv", "captions.xlsx", "metadata.jsonl"):
        (folder / name).write_text("x")
    assert read(folder).warnings[0] == (
        "Tables in the folder are not read: captions.csv, captions.xlsx, metadata.jsonl; metadata_path names the one "
        "to read."
    )
    with pytest.raises(UserError, match=r"captions\.xlsx: tables of this kind are not read; save it as CSV"):
        read(folder, metadata_path=str(folder / "captions.xlsx"))


def test_a_table_of_kohya_is_large_without_being_slow(tmp_path):
    folder = put(tmp_path / "in", "a.png")
    table = {f"/x/{number}": {"caption": "red", "tags": "dress"} for number in range(20_000)} | {"a": {"caption": "y"}}
    assert captions(folder, json.dumps(table, indent=1), "meta_cap.json") == {"a.png": "y"}


@pytest.mark.parametrize("name", ["a.txt", "a.TXT", "a.caption", "a.Caption", "a.png.txt", "a.PNG.TXT", "A.txt"])
def test_text_files_beside_an_image(folder, name):
    (folder / name).write_text("red,\n dress")
    assert {one.name: one.caption for one in read(folder).examples} == {"a.png": "red, dress", "b.png": ""}
    assert len(read(folder).warnings) == 1


def test_several_text_files_of_an_image(folder):
    for name, text in (
        ("a.png.txt", "second"),
        ("a.caption", "third"),
        ("a.TXT", ""),
        ("b.txt", "x"),
        ("b.caption", " x "),
    ):
        (folder / name).write_text(text)
    dataset = read(folder)
    assert [one.caption for one in dataset.examples] == ["third", "x"]
    assert dataset.warnings == ("Text files of the same image differ; used are a.caption (not a.png.txt).",)


def test_a_short_chinese_caption_is_read_as_its_neighbours_are(folder):
    (folder / "a.txt").write_bytes("猫".encode("gbk"))
    assert read(folder).examples[0].caption == ""
    (folder / "b.txt").write_bytes("白色背景,产品图".encode("gbk"))
    assert [one.caption for one in read(folder).examples] == ["猫", "白色背景,产品图"]


def test_images_that_differ_in_case_keep_their_own_text(tmp_path):
    folder = put(tmp_path / "in", "A.png", "a.png")
    if len(list(folder.iterdir())) < 2:
        pytest.skip("this disk does not tell A from a")
    (folder / "A.txt").write_text("large")
    assert [one.caption for one in read(folder).examples] == ["large", ""]


def test_text_files_that_are_not_used_are_reported(folder):
    (folder / "a.txt").write_text("theirs")
    (folder / "gone.txt").write_text("x")
    captions(folder, "filename,prompt\na.png,x\nb.png,y\n")
    assert read(folder).warnings == (
        "Text files differ from the table, which is used: a.txt.",
        "Text files without an image of their name are not used: gone.txt.",
    )


def test_the_number_without_a_caption_is_reported(folder):
    assert read(folder).warnings == ("None of the 2 images has a caption; all are trained on an empty caption.",)
    dataset = read(folder, trigger_word="brnd")
    assert dataset.warnings == ("None of the 2 images has a caption; all are trained on the trigger word brnd alone.",)
    (folder / "a.txt").write_text("x")
    dataset = read(folder, trigger_word="brnd", reg_data_dir=str(put(folder.parent / "reg", "c.png")))
    assert dataset.warnings == (
        "1 of 2 images have no caption and are trained on the trigger word brnd alone: b.png",
        "None of the 1 regularisation images has a caption; all are trained on an empty caption.",
    )
    assert dataset.without_caption == 2
    assert not read(put(folder.parent / "shoes", "10_red shoe/a.png")).warnings
