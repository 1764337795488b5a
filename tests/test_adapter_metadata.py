"""The metadata of the file, its hashes, and the card beside it."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from lora_scripts_ext import config
from lora_scripts_ext.adapters import card, file, file_metadata
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.file_metadata import Folder, RunFacts
from lora_scripts_ext.contract import ModelInfo, Target
from lora_scripts_ext.errors import UserError


def model(family="sd1", prediction_type="epsilon"):
    return ModelInfo(
        family=family,
        prediction_type=prediction_type,
        zero_terminal_snr=False,
        alphas_cumprod=torch.linspace(1, 0, 1000),
        name="base.safetensors",
        hash="0123456789abcdef" * 4,
        vae_factor=8,
        resolution={"sd1": 512, "sd2": 768, "sdxl": 1024}[family],
        device=torch.device("cpu"),
        dtype=torch.bfloat16,
    )


def make_config(**changes):
    values = {"train_data_dir": "d", "base_model": "b", "output_dir": "out/fox", "lora_rank": 8, "trigger_word": "fx"}
    return config.from_dict(values | changes)


FACTS = RunFacts(
    steps=90,
    max_steps=100,
    epoch=9,
    started_at=1700000000.5,
    finished_at=1700000100.0,
    batches_per_epoch=10,
    text_encoder_lr=None,
    folders={"10_fox": Folder(images=3, repeats=10), "den": Folder(images=5, repeats=1)},
    reg_folders={"2_animal": Folder(images=4, repeats=2)},
    buckets={(512, 512): 30, (448, 576): 5},
    tag_frequency={"10_fox": {"red fox": 3, "snow": 1}},
    dataset_version="5e7",
)


@pytest.mark.parametrize(
    ("family", "prediction_type", "version", "v2", "architecture", "resolution"),
    [
        ("sd1", "epsilon", "sd_v1", "False", "stable-diffusion-v1/lora", "512x512"),
        ("sd2", "epsilon", "sd_v2", "True", "stable-diffusion-v2-512/lora", "768x768"),
        ("sd2", "v_prediction", "sd_v2_v", "True", "stable-diffusion-v2-768-v/lora", "768x768"),
        ("sdxl", "epsilon", "sdxl_base_v1-0", "False", "stable-diffusion-xl-v1-base/lora", "1024x1024"),
    ],
)
def test_the_webuis_know_the_family(family, prediction_type, version, v2, architecture, resolution):
    metadata = file_metadata.build(make_config(), model(family, prediction_type), FACTS)
    assert metadata["ss_base_model_version"] == version
    assert metadata["ss_v2"] == v2
    assert metadata["modelspec.architecture"] == architecture
    assert metadata["modelspec.resolution"] == resolution
    assert metadata["modelspec.prediction_type"] == ("v" if prediction_type == "v_prediction" else "epsilon")


def test_the_run_in_the_metadata():
    metadata = file_metadata.build(
        make_config(target="full", optimizer_args={"eps": 1e-6}, resolution=[512, 640]), model(), FACTS
    )
    assert all(isinstance(value, str) for value in metadata.values())
    expected = {
        "ss_output_name": "fox",
        "modelspec.title": "fox",
        "ss_network_module": "networks.lora",
        "ss_network_dim": "8",
        "ss_network_alpha": "8.0",
        "ss_network_args": '{"target": "full", "conv_dim": 8, "conv_alpha": 8.0}',
        "ss_sd_model_name": "base.safetensors",
        "ss_sd_model_hash": "0123456789",
        "ss_training_started_at": "1700000000.5",
        "modelspec.date": "2023-11-14T22:15:00+00:00",
        "ss_text_encoder_lr": "None",
        "ss_steps": "90",
        "ss_max_train_steps": "100",
        "ss_dataset_version": "5e7",
        "ss_num_train_images": "35",
        "ss_num_reg_images": "8",
        "ss_optimizer": "adamw(weight_decay=0.01,eps=1e-06)",
        "ss_mixed_precision": "bf16",
        "ss_resolution": "(512, 640)",
        "modelspec.resolution": "512x640",
    }
    assert {key: metadata[key] for key in expected} == expected
    assert json.loads(metadata["ss_dataset_dirs"])["10_fox"] == {"n_repeats": 10, "img_count": 3}
    assert json.loads(metadata["ss_tag_frequency"]) == {"10_fox": {"red fox": 3, "snow": 1}}
    assert json.loads(metadata["ss_bucket_info"])["buckets"] == {
        "0": {"resolution": [448, 576], "count": 5},
        "1": {"resolution": [512, 512], "count": 30},
    }


def test_captions_stay_private_with_save_captions_false():
    metadata = file_metadata.build(make_config(save_captions=False), model(), FACTS)
    text = json.dumps(metadata)
    for private in ("red fox", "snow", "10_fox", "den", "2_animal"):
        assert private not in text
    assert metadata["ss_num_train_images"] == "35"


@pytest.mark.parametrize("inputs", [16, 20000])
def test_hashes(tmp_path, inputs):
    """By the algorithm in hosts.md, from the written file; a small file ends before the legacy hash's window."""
    target = Target(torch.nn.Linear(inputs, 64), "lora_unet_x", "x", "unet", "linear")
    path = tmp_path / "a.safetensors"
    file.save(path, Adapter([target], 16).layers(), torch.float32, file_metadata.build(make_config(), model(), FACTS))
    with safe_open(path, "pt") as opened:
        metadata = opened.metadata()
    data = path.read_bytes()
    region = data[8 + int.from_bytes(data[:8], "little") :]
    assert metadata["sshs_model_hash"] == hashlib.sha256(region).hexdigest()
    assert metadata["modelspec.hash_sha256"] == f"0x{hashlib.sha256(region).hexdigest()}"
    training = {k: v for k, v in metadata.items() if k.startswith("ss_")}
    window = save(load_file(path), training)[0x100000:0x110000]
    assert len(window) == (0x10000 if inputs == 20000 else 0)
    assert metadata["sshs_legacy_hash"] == hashlib.sha256(window).hexdigest()[:8]


def test_card_keeps_what_the_user_wrote(tmp_path):
    lora = tmp_path / "fox.safetensors"
    path = card.write(lora, make_config(), model("sdxl"))
    written = json.loads(path.read_text(encoding="utf-8"))
    assert path.name == "fox.json"
    assert written["sd version"] == "SDXL"
    assert written["activation text"] == "fx"
    assert set(written) == {
        "description", "sd version", "activation text", "preferred weight", "negative text", "notes", "lora trainer",
    }  # fmt: skip
    mine = {"activation text": "my fox", "preferred weight": 0.7, "notes": "狐", "category": "animals"}
    path.write_text(json.dumps(written | mine), encoding="utf-8")
    card.write(lora, make_config(trigger_word="other", lora_rank=4), model("sd1"))
    again = json.loads(path.read_text(encoding="utf-8"))
    assert {key: again[key] for key in mine} == mine
    assert again["sd version"] == "SD1"
    assert "rank 4" in again["description"]


@pytest.mark.parametrize(("own_word", "expected"), [("", "SDXL"), ("xl", "xl")])
def test_card_has_the_webuis_own_word_for_the_family(tmp_path, own_word, expected):
    path = card.write(tmp_path / "fox.safetensors", make_config(), replace(model("sdxl"), card_version=own_word))
    assert json.loads(path.read_text(encoding="utf-8"))["sd version"] == expected


def test_card_of_an_older_lora_of_the_name_gets_the_new_trigger_word(tmp_path):
    published = tmp_path / "models"
    published.mkdir()
    for word in ("fx", "vixen"):
        lora = tmp_path / word / "fox.safetensors"
        lora.parent.mkdir()
        lora.write_bytes(b"")
        card.write(lora, make_config(trigger_word=word), model("sdxl"))
        card.copy(lora, published)
        assert json.loads((published / "fox.json").read_text(encoding="utf-8"))["activation text"] == word


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_card_that_is_none_is_named(tmp_path, text):
    path = tmp_path / "fox.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"fox\.json"):
        card.write(tmp_path / "fox.safetensors", make_config(), model())
    assert path.read_text() == text


def test_preview_is_copied_beside(tmp_path):
    image = tmp_path / "000010-01.png"
    image.write_bytes(b"png")
    assert card.write_preview(tmp_path / "fox.safetensors", image).read_bytes() == b"png"
    assert (tmp_path / "fox.png").exists()
