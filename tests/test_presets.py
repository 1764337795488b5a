"""Presets follow the number of images."""

import pytest

from lora_scripts_ext import presets
from lora_scripts_ext.config import from_dict
from lora_scripts_ext.training.schedule import warmup_steps


@pytest.mark.parametrize("name", presets.NAMES)
def test_a_preset_is_as_written_for_the_number_of_images_it_is_meant_for(name):
    kind = presets.NAMES[name]
    meant_for = {"brand_style": 100, "product": 40, "character": 25, "car": 100}[name]
    assert presets.values(kind, meant_for) == presets.values(kind) == presets.values(kind, None)


@pytest.mark.parametrize(("images", "epochs"), [(25, 30), (100, 15), (400, 8), (1, 60), (50_000, 4)])
def test_epochs_follow_the_square_root_of_the_number_of_images(images, epochs):
    values = presets.values("A brand's look", images)
    # 15 epochs of 100 images; at most four times as many, at least a quarter.
    assert values["epochs"] == epochs
    assert epochs / values["save_epochs"] == pytest.approx(5, abs=1.1)


@pytest.mark.parametrize("name", presets.NAMES)
@pytest.mark.parametrize("images", [5, 20, 100, 1000])
def test_no_run_ends_in_its_warm_up(name, images):
    config = from_dict(
        {"train_data_dir": "data", "base_model": "model", "output_dir": "out",
         **presets.values(presets.NAMES[name], images)}
    )  # fmt: skip
    seen = images * config.num_repeats * config.epochs
    steps = seen // (config.batch_size * config.gradient_accumulation_steps)
    assert warmup_steps(config, steps) <= steps / 5


def test_a_presets_lists_are_the_callers_own():
    presets.values("A car")["resolution"].append(1)
    assert 1 not in presets.values("A car")["resolution"]
