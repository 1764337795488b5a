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
    unet = unet_class(**checkpoints.sd(family, tmp_path)["params"]["unet_config"]["params"])
    head = "model.diffusion_model."
    state = {name.removeprefix(head): t for name, t in models.original_state(family).items() if name.startswith(head)}
    unet.load_state_dict(state, strict=True)
    return unet.requires_grad_(False).eval()


def model_inputs(family):
    """Noisy latents, timesteps and context of two images."""
    generator = torch.Generator().manual_seed(3)
    return (
        torch.randn(2, 4, 16, 24, generator=generator),
        torch.tensor([20, 700]),
        torch.randn(2, 77, models.TEXT_WIDTH, generator=generator),
    )


def adapter_on(targets, target_set):
    """An adapter with an effect, the same for the same keys."""
    adapter = Adapter(select(targets, target_set, train_text_encoder=False), rank=3, alpha=2.0, seed=11)
    with torch.no_grad():
        adapter.weights.add_(0.05 * torch.randn(adapter.weights.shape, generator=torch.Generator().manual_seed(12)))
    return adapter


def test_its_layers_have_the_names_of_the_file_format(original, family):
    theirs = list(unet_targets(models.tiny_parts(family).unet, family))
    ours = list(original_unet_targets(original, family))
    expected = {target.key: (target.path, target.kind, target.module.weight.shape) for target in theirs}
    assert {target.key: (target.path, target.kind, target.module.weight.shape) for target in ours} == expected


@pytest.mark.parametrize("target_set", ["attention", "attention-mlp", "full"])
def test_predictions_and_gradients_are_those_of_diffusers_classes(original, family, target_set):
    noisy, timesteps, context = model_inputs(family)
    same = models.tiny_parts(family).unet
    predictions, gradients = [], []
    for targets, predict in (
        (original_unet_targets(original, family), lambda: original(noisy, timesteps, context=context)),
        (unet_targets(same, family), lambda: same(noisy, timesteps, context).sample),
    ):
        adapter = adapter_on(list(targets), target_set)
        with adapter.attached():
            prediction = predict()
            prediction.square().mean().backward()
        predictions.append(prediction.detach())
        gradients.append(adapter.weights.grad)
    torch.testing.assert_close(predictions[0], predictions[1], rtol=1e-4, atol=1e-5)
    assert (gradients[0] - gradients[1]).norm() <= 1e-4 * gradients[1].norm()
    bare = original(noisy, timesteps, context=context)
    assert (predictions[0] - bare).norm() > 0.01 * bare.norm()


def test_its_outline_has_its_layers_and_shapes_but_no_values(original, family):
    noisy, _, _ = model_inputs(family)
    outlined = outline.outline(info(family), original, [])
    assert [target.key for target in outlined.targets] == [t.key for t in original_unet_targets(original, family)]
    prediction = outlined.predict(2, 2 * noisy.shape[3], 2 * noisy.shape[2])
    assert prediction.shape == noisy.shape
    assert prediction.device.type == "meta"
    assert all(parameter.device.type == "cpu" for parameter in original.parameters())


def info(family):
    """The facts of the tiny model that an outline repeats."""
    return ModelInfo(
        family=family, prediction_type="epsilon", zero_terminal_snr=False, alphas_cumprod=torch.ones(1000), name="tiny",
        hash="", vae_factor=2, resolution=64, device=torch.device("cpu"), dtype=torch.float32, vae="",
    )  # fmt: skip
