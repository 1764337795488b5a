"""Names that every system can write, checked before anything is done."""

import os

import pytest

from lora_scripts_ext import config as configs
from lora_scripts_ext import file_name
from lora_scripts_ext.errors import UserError


def load(**values):
    return configs.from_dict({"train_data_dir": "in", "base_model": "m", "output_dir": "runs/fox", **values}, "a.yaml")


@pytest.mark.parametrize(
    "name", ["fox", "007", "shoe v1.5", "红鞋", "konsole", "com10", "console", "x" * 200, "鞋" * 66]
)
def test_usual_names_are_accepted(name):
    assert load(output_name=name).name == name
    assert load(output_dir=f"runs/{name}").name == name


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("x" * 201, "at most 200"), ("鞋" * 67, "it takes 201 bytes"), ("x" * 235, "use a shorter one"),
        ("brand.safetensors", "omit .safetensors"), ("brand.CKPT", "omit .CKPT"),
        ("con", "Windows reserves the name con"), ("NUL", "Windows"), ("Com1", "Windows"), ("lpt¹", "Windows"),
        ("con.txt", "Windows reserves the name con"), ("aux .v2", "Windows"), ("CONIN$", "Windows"),
        ("fox.", "end with a dot"),
        (".fox", "cannot start with a dot"), ("a:b", "cannot hold :"), ("a,b", "cannot hold ,"),
        ("a<b>", "cannot hold < >"),
    ],
)  # fmt: skip
def test_names_that_would_fail_somewhere_are_refused_wherever_they_come_from(name, sentence):
    with pytest.raises(UserError, match=r"^a\.yaml: output_name is ") as refused:
        load(output_name=name)
    assert sentence in str(refused.value)
    with pytest.raises(UserError, match=r"^a\.yaml: output_dir .*set output_name\.$") as refused:
        load(output_dir=f"runs/{name}")
    assert sentence in str(refused.value)
    assert load(output_dir=f"runs/{name}", output_name="fox").name == "fox"


@pytest.mark.parametrize("name", ["fox ", " fox", "a\tb", "a\x1b[2J", "a\x85", "a\0b", "caf\udce9", ""])
def test_names_with_invisible_parts_are_a_problem(name):
    assert file_name.problem(name)


@pytest.mark.parametrize("derived", ["-step00000100.safetensors", "-e0001-00.png", "-000010.safetensors"])
def test_what_is_derived_from_the_longest_name_can_be_written(derived, tmp_path):
    longest = "鞋" * (file_name.LONGEST // 3)
    assert file_name.problem(longest) is None
    (tmp_path / f"{longest}{derived}").touch()
    assert [path.name for path in tmp_path.iterdir()] == [f"{longest}{derived}"]


@pytest.mark.parametrize("key", ["train_data_dir", "output_dir", "mask_dir", "cache_dir", "init_lora", "base_model"])
def test_paths_that_no_system_takes_are_refused(key):
    for value, sentence in (
        (f"a/{'x' * 256}/b", "longer than the 255 bytes"),
        ("a\0b", "NUL|control"),
        ("caf\udce9", "not UTF-8"),
    ):
        with pytest.raises(UserError, match=f"{key} .*({sentence})"):
            load(output_name="fox", **{key: value})


def test_texts_that_cannot_be_written_are_refused():
    for values in ({"trigger_word": "\ud83d"}, {"preview_prompts": ["a", "b\udc80"]}, {"preview_negative": "\0"}):
        with pytest.raises(UserError, match=f"{next(iter(values))} is .*(not UTF-8|control character)"):
            load(**values)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", "a.png"), ("红鞋.jpg", "红鞋.jpg"), ("a:b?.png", "a_b_.png"), ("con.png", "_con.png"),
        ("a\x1b\n.png", "a__.png"), ("caf\udce9.png", "caf_.png"), (" a . ", "a"), ("...", "_"), ("COM1", "_COM1"),
    ],
)  # fmt: skip
def test_names_are_cleaned_as_little_as_possible(name, expected):
    assert file_name.cleaned(name) == expected


def test_long_names_of_an_image_and_its_caption_are_truncated_alike_and_never_collide(tmp_path):
    long = "一双非常漂亮的红色运动鞋" * 6
    truncated = [file_name.cleaned(f"{long}{number}{suffix}") for number in (1, 2) for suffix in (".jpeg", ".txt")]
    assert len({name.rsplit(".", 1)[0] for name in truncated}) == 2 and len(set(truncated)) == 4
    assert truncated[0].removesuffix(".jpeg") == truncated[1].removesuffix(".txt")
    assert all(len(os.fsencode(name)) < 200 for name in truncated)
    for name in truncated:
        (tmp_path / name).touch()
