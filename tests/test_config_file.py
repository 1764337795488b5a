"""A config's text: what is no YAML or TOML, or would grow, gets one sentence with its line."""

import sys
from itertools import pairwise

import pytest

from lora_scripts_ext import config as configs
from lora_scripts_ext import config_file
from lora_scripts_ext.errors import UserError

NEEDED = "train_data_dir: images\nbase_model: model.safetensors\noutput_dir: out\n"


def load(tmp_path, content, name="my.yaml"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return configs.load(path)


def laughs(levels):
    """Each list holds the one before nine times."""
    names = "abcdefghijkl"[:levels]
    rows = [f"{names[0]}: &{names[0]} [lol, lol]"]
    rows += [f"{now}: &{now} [{', '.join([f'*{before}'] * 9)}]" for before, now in pairwise(names)]
    return "\n".join(rows)


def merges(levels):
    rows = ["m0: &m0 {k: 1}"]
    rows += [f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}], k{i}: 1}}" for i in range(1, levels)]
    return "\n".join(rows)


@pytest.mark.parametrize(
    ("content", "line", "sentence"),
    [
        (NEEDED + 'trigger_word: "C:\\photos"\n', 4, "single quotes or forward slashes"),
        ('train_data_dir: "C:\\photos"\n', 1, "single quotes or forward slashes"),
        # \n and \t are valid escapes, but nobody means them in a path; \P is U+2029.
        ('train_data_dir: "C:\\new\\table"\n', 1, "single quotes or forward slashes"),
        ('epochs: 1\nbase_model: "D:\\Photos"\n', 2, "single quotes or forward slashes"),
        ('pretrained_model_name_or_path: "..\\models"\n', 1, "single quotes or forward slashes"),
        ("epochs: 1\nlora_rank: 2\nepochs: 3\n", 3, "epochs is there a second time, first in line 1"),
        ("optimizer_args: {eps: 1e-6, eps: 1e-5}\n", 1, "eps is there a second time"),
        ("epochs: 1\n1: x\n", 2, "expected a key that is a name, found '1'"),
        ("yes: x\n", 1, "expected a key that is a name, found 'yes'"),
        ("? [a]\n: b\n", 1, "expected a key that is a name"),
        ("optimizer_args:\n  1.5: x\n", 2, "expected a key that is a name"),
        (laughs(9), 7, "aliases"),
        (merges(9), 7, "aliases"),
        ("a: &a [*a]\n", 1, "stands inside of"),
        ("x: " + "[" * 100_000, 1, "nested too deeply"),
        ("x: " + "{a: " * 50 + "}" * 50, 1, "nested too deeply"),
        ("epochs: 1\n\tlora_rank: 2\n", 2, "a tab"),
        ("optimizer_args:\n\teps: 1\n", 2, "a tab"),
        ("epochs: !!python/object/apply:os.system [echo]\n", 1, "a tag"),
        ("epochs: !other 1\n", 1, "a tag"),
        ("epochs: 1\n---\nepochs: 2\n", 2, "a second document"),
        ("epochs: 1\ntrigger_word: *brand\n", 2, "single quotes"),
        ("epochs: 1\ntrigger_word: @brand\n", 2, "single quotes"),
        ("trigger_word: a: b\n", 1, "single quotes"),
        ('epochs: 1\ntrigger_word: "open\nepochs: 2\n', 2, "not valid YAML"),
        ("epochs: 1\ntrigger_word: a\x07b\n", 2, r"control character U\+0007"),
        (b"epochs: 1\nlora_rank: \0\n", 2, "binary file"),
        ("epochs: 1\n".encode("utf-16-le"), 1, "UTF-16"),
        (b"epochs: 1\ntrigger_word: M\xfcller\n", 2, "not UTF-8"),
        ("epochs: 1\nseed: 2024-13-45\n", 2, "no number or date"),
        ("- 1\n- 2\n", 1, "found a list"),
        ("hello\n", 1, "found text"),
    ],
)
def test_what_is_no_yaml_gets_a_sentence_with_its_line(tmp_path, content, line, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        load(tmp_path, content)
    assert "\n" not in str(error.value)
    assert f" line {line}: " in str(error.value)
    assert len(str(error.value)) < 600


def test_a_number_of_too_many_digits_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is no number or date|expected a whole number"):
        load(tmp_path, f"{NEEDED}epochs: {'9' * 5000}\n")


def test_a_file_of_the_wrong_kind_is_refused(tmp_path):
    with pytest.raises(UserError, match="saved as UTF-16; save it as UTF-8"):
        load(tmp_path, "epochs: 1\n".encode("utf-16"))
    with pytest.raises(UserError, match="larger than 256 KiB"):
        load(tmp_path, "# " + "x" * 300_000)
    with pytest.raises(UserError, match="is a folder"):
        configs.load(tmp_path)


def test_yaml_within_reason_is_read(tmp_path):
    config = load(tmp_path, f"---\n{NEEDED}optimizer_args: {{<<: &shared {{eps: 1e-6}}, betas: [0.9, 0.99]}}\n...\n")
    assert config.optimizer_args == {"eps": 1e-6, "betas": [0.9, 0.99]}
    config = load(tmp_path, NEEDED + "trigger_word: &word brnd\npreview_negative: *word\n")
    assert config.preview_negative == "brnd"
    assert load(tmp_path, "\ufeff" + NEEDED.replace("\n", "\r\n")).base_model == "model.safetensors"


def test_escapes_that_are_meant_stay(tmp_path):
    written = NEEDED.replace("images", '"C:\\\\photos\\\\\\u54c1\\u724c"').replace(
        "model.safetensors", "'C:\\new\\table'"
    )
    config = load(tmp_path, written)
    assert (config.train_data_dir, config.base_model) == ("C:\\photos\\品牌", "C:\\new\\table")


def test_text_that_looks_like_a_number_or_date_stays_as_written(tmp_path):
    config = load(
        tmp_path, NEEDED + "output_name: 007\ntrigger_word: 2024-01-01\npreview_prompts: [1.10, 2024-02-02, a]\n"
    )
    assert (config.output_name, config.trigger_word) == ("007", "2024-01-01")
    assert config.preview_prompts == ["1.10", "2024-02-02", "a"]


def test_a_value_that_grows_is_refused_in_an_override(tmp_path):
    (tmp_path / "my.yaml").write_text(NEEDED, encoding="utf-8")
    rows = laughs(9).replace("\n", ", ")
    with pytest.raises(UserError, match="--set optimizer_args"):
        configs.load(tmp_path / "my.yaml", [f"optimizer_args={{{rows}}}"])
    assert config_file.value("[1, 2e-4, yes]", "here") == [1, "2e-4", True]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('epochs = 1\ntrain_data_dir = "C:\\photos"\n', "line 2: .*single quotes or forward slashes"),
        ('train_data_dir = "C:\\new"\n', "control character U\\+000A; a backslash in double quotes"),
        ("epochs = 1\nepochs = 2\nlora_rank = 3\n", "line 2: .*not valid TOML"),
        ("epochs\n", "line 1: .*not valid TOML"),
        ("epochs: 1\n", "line 1: .*not valid TOML"),
        ("x = " + "[" * 50_000, "nested too deeply"),
        ("learning_rate = nan\n", "learning_rate is nan, expected a number"),
        ("epochs = true\n", "epochs is True, expected a whole number"),
        ("trigger_word = 2024-01-01\n", "trigger_word is 2024-01-01, expected text; put it in quotes"),
        ("[one]\nepochs = 1\n[two]\nepochs = 2\n", "epochs is 1 in one place and 2 in another"),
    ],
)
def test_what_is_no_toml_gets_a_sentence(tmp_path, content, sentence):
    pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    with pytest.raises(UserError, match=sentence) as error:
        load(tmp_path, content, "my.toml")
    assert "\n" not in str(error.value)


def test_toml_without_a_reader_is_an_error_that_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setitem(sys.modules, "tomli", None)
    with pytest.raises(UserError, match=r"Python 3\.11 or the package tomli"):
        load(tmp_path, "epochs = 1\n", "my.toml")
