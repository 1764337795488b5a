"""The config file: every seed example works, every mistake gets one sentence."""

import re
from pathlib import Path

import pytest

from lora_scripts_ext import config as configs
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
        ({"min_bucket_side": 512, "max_bucket_side": 256}, "min_bucket_side 512 is above max_bucket_side 256"),
    ],
)
def test_a_mistake_is_said_in_one_sentence(change, sentence):
    with pytest.raises(
        UserError, match=re.escape(sentence) if "is nan" in sentence else sentence.replace("?", r"\?")
    ) as error:
        configs.from_dict({**NEEDED, **change}, "my.yaml")
    assert str(error.value).startswith("my.yaml: ")
    assert "\n" not in str(error.value)


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
