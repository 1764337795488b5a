"""The config file: every seed example works, every mistake gets one sentence."""

import re
from pathlib import Path

import pytest

from lora_scripts_ext import config as configs
from lora_scripts_ext.commands import train
from lora_scripts_ext.errors import UserError

# The example of the articles the project comes from, key for key.
SEED = """\
train_data_dir: "./data/tesla_model_y"
metadata_path: "./data/tesla_model_y/metadata.csv"
base_model: "./models/v1-5-pruned.safetensors"
lora_rank: 8          # higher for clear differences
lora_alpha: 16        # usually twice the rank
lora_dropout: 0.1
learning_rate: 2e-4
batch_size: 4
gradient_accumulation_steps: 2
epochs: 15
output_dir: "./output/tesla_lora"
save_steps: 100
"""
NEEDED = {"train_data_dir": "pictures", "base_model": "model.safetensors", "output_dir": "out/brand"}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_seeds_example_is_read_as_written(tmp_path):
    config = configs.load(write(tmp_path, SEED))
    assert (config.lora_rank, config.alpha, config.lora_dropout) == (8, 16.0, 0.1)
    assert config.learning_rate == 2e-4
    assert (config.batch_size, config.gradient_accumulation_steps, config.epochs, config.save_steps) == (4, 2, 15, 100)
    assert config.train_data_dir == "./data/tesla_model_y"
    assert config.name == "tesla_lora"


def test_yaml_out_gives_the_same_config_back(tmp_path):
    config = configs.from_dict({**NEEDED, "resolution": 768, "trigger_word": "品牌", "optimizer_args": {"eps": 1e-6}})
    assert config.resolution == [768]
    assert configs.load(write(tmp_path, config.to_yaml())) == config


def test_set_overrides_the_file(tmp_path):
    config = configs.load(write(tmp_path, SEED), ["epochs=3", "resolution=[512, 768]", "output_name=007", "flip=true"])
    assert (config.epochs, config.resolution, config.output_name, config.flip) == (3, [512, 768], "007", True)


def test_alpha_defaults_to_the_rank():
    assert configs.from_dict({**NEEDED, "lora_rank": 12}).alpha == 12.0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"lora_rnk": 8}, "unknown key lora_rnk; did you mean lora_rank?"),
        ({"zzz": 8}, "unknown key zzz"),
        ({"lora_rank": "big"}, "lora_rank is 'big', expected a whole number"),
        ({"lora_rank": 0}, "lora_rank is 0, it must be at least 1 and at most 1024"),
        ({"lora_rank": 8.5}, "lora_rank is 8.5, expected a whole number"),
        ({"learning_rate": 0}, r"learning_rate is 0.0, it must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan, expected a number"),
        ({"flip": "yes please"}, "flip is 'yes please', expected true or false"),
        ({"epochs": True}, "epochs is True, expected a whole number"),
        ({"optimizer": "adamW"}, "optimizer is 'adamW'; did you mean adamw?"),
        ({"resolution": [512, 512, 512]}, "resolution is"),
        ({"resolution": 8}, "resolution is 8; write a side of 32 to 8192"),
        ({"masked_loss": "files"}, "mask_dir is empty"),
        ({"output_dir": "./pictures"}, "output_dir and train_data_dir are both ./pictures"),
        ({"output_name": "a/b"}, "output_name is 'a/b'"),
        ({"output_name": ".."}, "output_name is ..... a file name cannot start with a dot"),
        ({"optimizer_args": 3}, "optimizer_args is 3, expected a mapping"),
        ({"base_model": ""}, "base_model is missing"),
        ({"preview_prompts": [["a"]]}, "preview_prompts is"),
        ({"lora_alpha": "1e400"}, "lora_alpha is '1e400', expected a number"),
        ({"lora_alpha": 1e9}, "lora_alpha is 1000000000.0, it must be above 0 and at most 65536"),
        ({"learning_rate": float("inf")}, "learning_rate is inf, expected a number"),
        ({"learning_rate": 1000}, "learning_rate is 1000.0, it must be above 0 and at most 10"),
        ({"learning_rate": True}, "learning_rate is True, expected a number"),
        ({"epochs": 10**400}, "epochs is 1000"),
        ({"seed": -1}, "seed is -1, it must be at least 0"),
        ({"save_steps": 10**30}, "save_steps is 1000"),
        ({"lr_warmup_steps": 10.5}, "lr_warmup_steps is 10.5; write a whole number of steps"),
        ({"trigger_word": True}, "trigger_word is True, expected text; put it in quotes"),
        ({"trigger_word": "a\nb"}, "which holds the control character U[+]000A; take it out"),
        ({"train_data_dir": "C:\new"}, "a backslash in double quotes makes one"),
        ({"epochs": "x" * 10_000}, "expected a whole number"),
        ({"lr_scheduler": 3}, "lr_scheduler is 3; valid: auto, constant"),
        ({"min_bucket_side": 512, "max_bucket_side": 256}, "min_bucket_side 512 is above max_bucket_side 256"),
    ],
)
def test_a_mistake_is_reported_in_one_sentence(change, sentence):
    with pytest.raises(
        UserError,
        match=re.escape(sentence) if "is nan" in sentence else sentence.replace("?", r"\?"),
    ) as error:
        configs.from_dict({**NEEDED, **change}, "my.yaml")
    assert str(error.value).startswith("my.yaml: ")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("a: [1", "not valid YAML"), ("- 1\n- 2", "expected lines of `key: value`"), ("", "train_data_dir is missing")],
)
def test_a_file_that_is_no_config_is_refused(tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence):
        configs.load(write(tmp_path, text))


def test_a_missing_file_and_a_malformed_override(tmp_path):
    with pytest.raises(UserError, match="no such config file"):
        configs.load(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="key=value"):
        configs.load(write(tmp_path, SEED), ["epochs"])


def test_every_key_explains_itself():
    for name, field in configs.FIELDS.items():
        assert len(field.metadata["help"]) > 10, name


def test_a_path_may_start_at_home_and_end_with_spaces(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    config = configs.from_dict({**NEEDED, "train_data_dir": "~/images ", "output_dir": " ./out", "base_model": "a~b"})
    assert Path(config.train_data_dir) == tmp_path / "images"
    assert (config.output_dir, config.base_model) == ("./out", "a~b")


@pytest.mark.parametrize(
    ("key", "kind", "sentence"),
    [
        ("metadata_path", "folder", "is a folder; name the file itself"),
        ("init_lora", "folder", "is a folder; name the file itself"),
        ("output_dir", "file", "is a file; name a folder"),
        ("reg_data_dir", "file", "is a file; name a folder"),
    ],
)
def test_a_folder_where_a_file_belongs_and_the_reverse(tmp_path, key, kind, sentence):
    path = tmp_path / "there"
    path.mkdir() if kind == "folder" else path.write_bytes(b"")
    with pytest.raises(UserError, match=f"{key} is .*{sentence}"):
        configs.load(write(tmp_path, SEED), [f"{key}={path}"])


def test_input_and_output_are_not_one_folder_by_a_link_either(tmp_path):
    (tmp_path / "images").mkdir()
    try:
        (tmp_path / "link").symlink_to(tmp_path / "images", target_is_directory=True)
    except OSError:
        pytest.skip("no links here")
    with pytest.raises(UserError, match="output_dir and train_data_dir are both"):
        configs.load(
            write(tmp_path, SEED), [f"train_data_dir={tmp_path / 'images'}", f"output_dir={tmp_path / 'link'}"]
        )


def test_a_dry_run_finds_a_wrong_argument_before_anything_is_read(tmp_path, capsys):
    file = write(tmp_path, SEED + 'optimizer_args: {betas: "fast"}\n')
    assert train.main(["--config", str(file), "--dry-run"]) == train.BAD_INPUT
    assert "betas in optimizer_args is 'fast', expected two numbers" in capsys.readouterr().err
