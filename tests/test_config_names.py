"""Other trainers' configs: the same meaning under their names, everything else reported in a sentence."""

import sys

import pytest

from lora_scripts_ext import config as configs
from lora_scripts_ext import config_names, config_values
from lora_scripts_ext.errors import UserError

NEEDED = {"train_data_dir": "images", "base_model": "model.safetensors", "output_dir": "out"}
toml = pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib")

# As kohya's guides and notebooks write it, sections and all.
KOHYA = """\
[model_arguments]
v2 = false
v_parameterization = false
pretrained_model_name_or_path = "models/sd15.safetensors"

[additional_network_arguments]
unet_lr = 1e-4
text_encoder_lr = 5e-5
network_module = "networks.lora"
network_dim = 32
network_alpha = 16
network_train_unet_only = false
network_args = ["conv_dim=32", "conv_alpha=16"]

[optimizer_arguments]
optimizer_type = "AdamW8bit"
learning_rate = 1e-4
optimizer_args = ["weight_decay=0.1", "betas=0.9,0.99"]
lr_scheduler = "constant_with_warmup"
lr_warmup_steps = 0.05

[dataset_arguments]
cache_latents = true
train_data_dir = "images"
resolution = "512,768"
shuffle_caption = true
keep_tokens = 1
caption_extension = ".txt"
caption_dropout_rate = 0.05
flip_aug = true
min_bucket_reso = 256
max_bucket_reso = 1024

[training_arguments]
output_dir = "out"
output_name = "brand"
save_precision = "fp16"
save_every_n_epochs = 2
train_batch_size = 4
max_train_epochs = 12
max_token_length = 75
mixed_precision = "bf16"
xformers = true
clip_skip = 2
min_snr_gamma = 5
noise_offset = 0.05
sample_every_n_epochs = 3
sample_sampler = "euler_a"
"""
DATASET = """\
[general]
shuffle_caption = true
keep_tokens = 1

[[datasets]]
resolution = 768
batch_size = 2
keep_tokens = 2

  [[datasets.subsets]]
  image_dir = 'shoes'
  class_tokens = "red shoe"
  num_repeats = 10
"""


def changed(values):
    return {key: value for key, value in configs.from_dict(values).changed().items() if key not in NEEDED}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"network_dim": 8}, {"lora_rank": 8}),
        ({"network_dim": 8, "network_alpha": "4"}, {"lora_rank": 8, "lora_alpha": 4.0}),
        ({"network_dim": 8, "lora_rank": 8}, {"lora_rank": 8}),
        ({"rank": 4, "train_batch_size": 2, "num_train_epochs": 3}, {"lora_rank": 4, "batch_size": 2, "epochs": 3}),
        ({"unet_lr": "2e-4", "learning_rate": 2e-4}, {"learning_rate": 2e-4}),
        ({"text_encoder_lr": 1e-5, "train_text_encoder": True}, {"text_encoder_lr": 1e-5, "train_text_encoder": True}),
        ({"text_encoder_lr": 0}, {}),
        (
            {"network_train_unet_only": False, "learning_rate": 2e-4},
            {"train_text_encoder": True, "learning_rate": 2e-4, "text_encoder_lr": 2e-4},
        ),
        ({"network_train_unet_only": True}, {}),
        ({"resolution": "512,768"}, {"resolution": [512, 768]}),
        ({"resolution": "512x768"}, {"resolution": [512, 768]}),
        ({"resolution": "(512, 768)"}, {"resolution": [512, 768]}),
        ({"resolution": "768"}, {"resolution": [768]}),
        ({"lr_scheduler": "constant_with_warmup"}, {"lr_scheduler": "constant"}),
        ({"lr_warmup_ratio": 0.1}, {"lr_warmup_steps": 0.1}),
        (
            {"lr_scheduler": "cosine_with_restarts", "lr_scheduler_num_cycles": 3},
            {"lr_scheduler": "cosine_with_restarts", "lr_cycles": 3},
        ),
        ({"optimizer_type": "Prodigy"}, {"optimizer": "prodigy"}),
        ({"optimizer_type": "adamw8BIT"}, {"optimizer": "adamw8bit"}),
        ({"optimizer": "AdamW", "use_8bit_adam": True}, {"optimizer": "adamw8bit"}),
        (
            {"optimizer_args": ["weight_decay=0.1", "betas=0.9,0.95"]},
            {"weight_decay": 0.1, "optimizer_args": {"betas": [0.9, 0.95]}},
        ),
        (
            {"adam_beta2": 0.99, "adam_weight_decay": 0.1},
            {"weight_decay": 0.1, "optimizer_args": {"betas": [0.9, 0.99]}},
        ),
        ({"save_every_n_epochs": 2, "save_every_n_steps": 50}, {"save_epochs": 2, "save_steps": 50}),
        ({"caption_dropout_rate": 0.1, "snr_gamma": 5}, {"caption_dropout": 0.1, "min_snr_gamma": 5.0}),
        ({"v_parameterization": True, "v2": True}, {"prediction_type": "v_prediction", "model_family": "sd2"}),
        ({"network_dim": 8, "network_args": ["conv_dim=8"]}, {"lora_rank": 8, "target": "full"}),
        ({"mixed_precision": "no"}, {"mixed_precision": "fp32"}),
        ({"mixed_precision": False}, {"mixed_precision": "fp32"}),
        ({"random_crop": True, "flip_aug": True}, {"crop": "random", "flip": True}),
        ({"sample_prompts": ["a cat --n bad --w 512"]}, {"preview_prompts": ["a cat"]}),
        ({"validation_prompt": "a cat", "validation_epochs": 2}, {"preview_prompts": ["a cat"], "preview_epochs": 2}),
        ({"noise_offset_type": "Original", "network_module": "networks.lora", "vae": "", "loss_type": "l2"}, {}),
        # kohya's GUI writes every key, empty ones and zeros included.
        ({"max_train_epochs": "", "max_train_steps": 0, "network_weights": "", "vae": None, "ip_noise_gamma": 0}, {}),
    ],
)  # fmt: skip
def test_the_same_meaning_under_another_name(theirs, ours):
    assert changed(NEEDED | theirs) == ours


@pytest.mark.parametrize(
    ("theirs", "epochs", "most"),
    [
        # kohya: max_train_epochs overrides the steps; diffusers: the steps override num_train_epochs.
        ({"max_train_steps": 500}, 500, 500),
        ({"max_train_steps": 500, "max_train_epochs": 3}, 3, 0),
        ({"max_train_steps": 500, "num_train_epochs": 3}, 500, 500),
        ({"max_train_steps": 500, "epochs": 3}, 3, 500),
    ],
)
def test_a_number_of_steps_is_reached(theirs, epochs, most):
    config = configs.from_dict(NEEDED | theirs)
    assert (config.epochs, config.max_steps) == (epochs, most)


@pytest.mark.parametrize(
    ("theirs", "sentence"),
    [
        ({"network_dim": 8, "lora_rank": 16}, "network_dim is 8 but lora_rank is 16, and both set lora_rank"),
        ({"unet_lr": 1e-4, "learning_rate": 1e-3}, "both set learning_rate; keep one"),
        ({"network_module": "lycoris.kohya"}, "another kind of adapter"),
        ({"network_args": ["conv_dim=4"], "network_dim": 8}, "both set lora_rank"),
        ({"network_args": ["algo=loha"]}, "network_args holds algo"),
        ({"network_args": ["conv_dim"]}, "write each as NAME=VALUE"),
        ({"network_train_text_encoder_only": True}, "trains the text encoder alone"),
        ({"network_dropout": 0.1}, "write lora_dropout instead"),
        ({"optimizer_type": "DAdaptation"}, "optimizer_type is 'DAdaptation'; here there are adafactor, adamw"),
        ({"lr_scheduler": "inverse_sqrt"}, "lr_scheduler is 'inverse_sqrt'"),
        ({"noise_offset_type": "Multires"}, "noise_offset_type"),
        ({"v2": "maybe"}, "v2 is 'maybe', expected true or false"),
        ({"caption_prefix": "brnd"}, "is trigger_word here"),
        ({"caption_extension": ".cap"}, "name caption files NAME.txt"),
        ({"sample_every_n_steps": 100}, "write preview_epochs"),
        ({"sample_sampler": "heun"}, "sample_sampler is 'heun'"),
        ({"sample_prompts": "prompts.txt"}, "preview_prompts"),
        ({"loss_type": "smooth_l1"}, "loss: huber"),
        ({"pretrained_vae_model_name_or_path": "a/b"}, "name its .safetensors file in vae"),
        ({"masked_loss": True}, "masked_loss is true; write alpha, or files"),
        ({"resolution": "a,b"}, "resolution is 'a', expected a whole number"),
        ({"network_dims": 8}, "unknown key network_dims; did you mean lora_rank"),
    ],
)
def test_what_differs_is_reported(theirs, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        configs.from_dict(NEEDED | theirs, "my.yaml")
    assert str(error.value).startswith("my.yaml: ")
    assert "\n" not in str(error.value)


def test_what_changes_nothing_is_ignored_and_listed():
    config = configs.from_dict(NEEDED | {"cache_latents": True, "xformers": True, "lowram": False}, "my.yaml")
    assert config.notes == ("my.yaml: ignored, because it changes nothing here: cache_latents, xformers.",)
    assert config == configs.from_dict(NEEDED)


def test_every_name_maps_to_exactly_one_key():
    assert set(config_names.SAME.values()) <= set(configs.FIELDS)
    tables = [config_names.SAME, config_names.REFUSED, config_names.HARMLESS, config_values.CONVERTED, configs.FIELDS]
    names = [name for table in tables for name in table]
    assert len(names) == len(set(names))


@toml
def test_kohyas_file_is_read(tmp_path):
    path = tmp_path / "kohya.toml"
    path.write_text(KOHYA, encoding="utf-8")
    config = configs.load(path, ["network_dim=8"])
    expected = configs.from_dict({
        "base_model": "models/sd15.safetensors", "train_data_dir": "images", "output_dir": "out", "output_name":
        "brand", "lora_rank": 8, "lora_alpha": 16, "target": "full", "train_text_encoder": True,
        "learning_rate": 1e-4, "text_encoder_lr": 5e-5, "optimizer": "adamw8bit", "weight_decay": 0.1,
        "optimizer_args": {"betas": [0.9, 0.99]}, "lr_scheduler": "constant", "lr_warmup_steps": 0.05,
        "resolution": [512, 768], "shuffle_caption": True, "keep_tokens": 1, "caption_dropout": 0.05, "flip":
        True, "min_bucket_side": 256, "max_bucket_side": 1024, "save_epochs": 2, "batch_size": 4, "epochs": 12,
        "mixed_precision": "bf16", "clip_skip": 2, "min_snr_gamma": 5, "noise_offset": 0.05, "preview_epochs":
        3, "preview_sampler": "Euler a",
    })  # fmt: skip
    assert config == expected
    assert len(config.notes) == 1
    assert config.notes[0].endswith("changes nothing here: cache_latents, xformers.")


@toml
def test_what_kohya_would_do_by_itself_is_reported(tmp_path):
    path = tmp_path / "kohya.toml"
    path.write_text(
        'network_module = "networks.lora"\ntrain_data_dir = "images"\npretrained_model_name_or_path = "b"\n'
        'output_dir = "out"\n',
        encoding="utf-8",
    )
    (note,) = configs.load(path).notes
    assert "network_alpha (kohya: 1, here: the rank)" in note
    assert "lr_scheduler (kohya: constant" in note


@toml
@pytest.mark.parametrize("own_file", [False, True])
def test_kohyas_dataset_is_read(tmp_path, own_file):
    """What stands further inside wins; a subset of regularisation images is a folder of its own."""
    regularisation = "  [[datasets.subsets]]\n  is_reg = true\n  image_dir = 'other'\n"
    path = tmp_path / "dataset.toml"
    path.write_text(DATASET + regularisation, encoding="utf-8")
    if own_file:
        prompts = tmp_path / "prompts.txt"
        prompts.write_text("# comment\na cat --n bad\n\na dog\n", encoding="utf-8")
        path = tmp_path / "main.toml"
        path.write_text(
            f"dataset_config = '{tmp_path / 'dataset.toml'}'\nsample_prompts = '{prompts}'\n", encoding="utf-8"
        )
    config = configs.load(path, ["base_model=b", "output_dir=out"])
    assert (config.train_data_dir, config.reg_data_dir, config.num_repeats) == ("shoes", "other", 10)
    assert (config.resolution, config.batch_size, config.keep_tokens) == ([768], 2, 2)
    assert config.shuffle_caption
    assert config.trigger_word == "red shoe"
    assert config.preview_prompts == (["a cat", "a dog"] if own_file else [])
    assert any("class_tokens is put in front of every caption" in note for note in config.notes)


@toml
@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("  [[datasets.subsets]]\n  image_dir = 'more'\n", "2 .*subsets.*REPEATS_NAME"),
        ("  [[datasets.subsets]]\n  image_dir = 'r'\n  is_reg = true\n  num_repeats = 3\n", "num_repeats of its own"),
        ("[[datasets]]\n  [[datasets.subsets]]\n  image_dir = 'more'\n", "2 .*datasets.*keep one"),
    ],
)
def test_a_dataset_of_several_folders_is_an_error_that_names_the_remedy(tmp_path, more, sentence):
    path = tmp_path / "dataset.toml"
    path.write_text(DATASET + more, encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        configs.load(path, ["base_model=b", "output_dir=out"])


def test_the_structure_of_another_trainer_is_named(tmp_path):
    path = tmp_path / "toolkit.yaml"
    path.write_text("job: extension\nconfig:\n  process: [{type: sd_trainer}]\n", encoding="utf-8")
    with pytest.raises(UserError, match="a config of ai-toolkit"):
        configs.load(path)


def test_set_takes_other_names_and_wins(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("train_data_dir: images\nbase_model: b\noutput_dir: out\nlora_rank: 4\n", encoding="utf-8")
    changes = ["network_dim=8", "pretrained_model_name_or_path=007", "resolution=512,768"]
    config = configs.load(path, changes)
    assert (config.lora_rank, config.base_model, config.resolution) == (8, "007", [512, 768])


def test_files_of_parts_are_named_as_in_kohyas_flux_scripts():
    config = configs.from_dict(NEEDED | {"ae": "ae.safetensors", "clip_l": "l.safetensors", "t5xxl": "t5.safetensors"})
    assert (config.vae, config.clip_l, config.t5xxl) == ("ae.safetensors", "l.safetensors", "t5.safetensors")
