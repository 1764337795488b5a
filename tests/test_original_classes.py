"""The original ``ldm`` classes, in which WebUIs hold models: names of layers, and the same adapter as elsewhere."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.contract import ModelInfo
from lora_scripts_ext.models import outline
from lora_scripts_ext.models.targets import original_unet_targets, unet_targets

from . import models
from .webui import checkpoints

PACKAGE = "stable-diffusion-sdkit==2.1.5"
FOLDER = Path(__file__).resolve().parents[1] / ".venv-ldm"
#: the package's classes are those of SD1 and SD2
FAMILIES = ("sd1", "sd2")


@pytest.fixture(scope="module")
def unet_class():
    stamp = FOLDER / "installed"
    if not stamp.exists() or stamp.read_text() != PACKAGE:
        # Without what it pins, an old torch among it.
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--upgrade", "--target", str(FOLDER)]
        subprocess.run([*pip, PACKAGE], check=True)
        stamp.write_text(PACKAGE)
    sys.path.append(str(FOLDER))
    yield importlib.import_module("ldm.modules.diffusionmodules.openaimodel").UNetModel
    sys.path.remove(str(FOLDER))


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def original(unet_class, family, tmp_path):
    """The tiny model's UNet as a WebUI would hold it."""
    made = unet_class(**checkpoints.sd(family, tmp_path)["params"]["unet_config"]["params"])
    head = "model.diffusion_model."
    held = {name.removeprefix(head): t for name, t in models.original_state(family).items() if name.startswith(head)}
    made.load_state_dict(held, strict=True)
    return made.requires_grad_(False).eval()


def question(family):
    """Noisy latents, timesteps and context of two pictures."""
    generator = torch.Generator().manual_seed(3)
    return (
        torch.randn(2, 4, 16, 24, generator=generator),
        torch.tensor([20, 700]),
        torch.randn(2, 77, models.TEXT_WIDTH, generator=generator),
    )


def adapter_on(targets, target_set):
    """An adapter that says something, the same for the same keys."""
    made = Adapter(select(targets, target_set, train_text_encoder=False), rank=3, alpha=2.0, seed=11)
    with torch.no_grad():
        made.weights.add_(0.05 * torch.randn(made.weights.shape, generator=torch.Generator().manual_seed(12)))
    return made


def test_its_layers_have_the_names_that_a_file_calls_them_by(original, family):
    theirs = list(unet_targets(models.tiny_parts(family).unet, family))
    ours = list(original_unet_targets(original, family))
    expected = {target.key: (target.path, target.kind, target.module.weight.shape) for target in theirs}
    assert {target.key: (target.path, target.kind, target.module.weight.shape) for target in ours} == expected


@pytest.mark.parametrize("target_set", ["attention", "attention-mlp", "full"])
def test_the_same_adapter_says_and_learns_the_same_as_on_diffusers_classes(original, family, target_set):
    noisy, timesteps, context = question(family)
    same = models.tiny_parts(family).unet
    answers, gradients = [], []
    for targets, predict in (
        (original_unet_targets(original, family), lambda: original(noisy, timesteps, context=context)),
        (unet_targets(same, family), lambda: same(noisy, timesteps, context).sample),
    ):
        adapter = adapter_on(list(targets), target_set)
        with adapter.attached():
            answer = predict()
            answer.square().mean().backward()
        answers.append(answer.detach())
        gradients.append(adapter.weights.grad)
    torch.testing.assert_close(answers[0], answers[1], rtol=1e-4, atol=1e-5)
    assert (gradients[0] - gradients[1]).norm() <= 1e-4 * gradients[1].norm()
    bare = original(noisy, timesteps, context=context)
    assert (answers[0] - bare).norm() > 0.01 * bare.norm()


def test_its_outline_has_its_layers_and_its_shapes_but_no_numbers(original, family):
    noisy, _, _ = question(family)
    told = outline.outline(info(family), original, [])
    assert [target.key for target in told.targets] == [t.key for t in original_unet_targets(original, family)]
    answer = told.predict(2, 2 * noisy.shape[3], 2 * noisy.shape[2])
    assert answer.shape == noisy.shape
    assert answer.device.type == "meta"
    assert all(parameter.device.type == "cpu" for parameter in original.parameters())


def info(family):
    """The facts of the tiny model that an outline repeats."""
    return ModelInfo(
        family=family, prediction_type="epsilon", zero_terminal_snr=False, alphas_cumprod=torch.ones(1000), name="tiny",
        hash="", vae_factor=2, resolution=64, device=torch.device("cpu"), dtype=torch.float32, vae="",
    )  # fmt: skip
