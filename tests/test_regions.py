"""LoRAs of regions: each acts in its own part of the image, with its own prompt, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from lora_scripts_ext.adapters import file
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.applied import applied, from_file
from lora_scripts_ext.adapters.regional import Regional, side_by_side
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.contract import Conditioning, DrawRequest, Region, WeightedLora
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.models import text_inputs
from lora_scripts_ext.models.layer import overriding

from . import models

HEIGHT, WIDTH = 8, 16
LEFT = WIDTH // 2


@pytest.fixture(scope="module", params=("sd1", "sdxl"))
def drawer(request, tmp_path_factory):
    path = models.write_checkpoint(tmp_path_factory.mktemp(request.param) / "model.safetensors", request.param)
    with StandaloneHost().drawing(str(path)) as opened:
        yield opened


@pytest.fixture(scope="module")
def session(drawer):
    return drawer._session


@pytest.fixture(scope="module")
def loras(session, tmp_path_factory):
    """Two files for all layers, text encoders among them, with effects that can be seen."""
    return [write_lora(session, tmp_path_factory.mktemp("loras") / f"{seed}.safetensors", seed) for seed in (1, 2)]


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def write_lora(session, path, seed):
    adapter = Adapter(select(list(session.targets()), "full", True), 2, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        adapter.weights.copy_(0.2 * torch.randn(adapter.weights.shape, generator=generator))
    file.save(path, adapter.layers(), torch.float32, {})
    return path


def halves(blend=0.0):
    """Masks of the left and the right half, the boundary ``blend`` cells wide."""
    distance = LEFT - torch.arange(WIDTH) - 0.5
    left = (distance / blend + 0.5).clamp(0, 1) if blend else (distance > 0).float()
    return torch.stack([left, 1 - left])[:, None, :].expand(2, HEIGHT, WIDTH).contiguous()


def conditioned(session, captions):
    encoded = session.encode_text(captions)
    if encoded.pooled is None:
        return encoded
    sizes = torch.tensor([[16, 32, 0, 0, 16, 32]] * len(captions), dtype=torch.float32)
    return Conditioning(encoded.context, encoded.pooled, sizes)


def noisy():
    return torch.randn(2, 4, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))


def predicted(session, conditioning):
    return session.predict(noisy(), torch.tensor([300, 700]), conditioning)


def regional(session, loras, masks=None):
    targets, model = list(session.targets()), session.model
    adapters = [[from_file(one, 0.8, targets, model.device, model.dtype)] for one in loras]
    unet = session.denoiser
    return Regional(unet, adapters, halves() if masks is None else masks), adapters, unet


def texts(session, adapters, prompts):
    """As a drawing has them: of each region the negative prompt and its own, encoded with its LoRAs."""
    encoded = []
    for (adapter,), prompt in zip(adapters, prompts, strict=True):
        with adapter.attached():
            encoded.append(conditioned(session, ["blurry", prompt]))
    return side_by_side(encoded)


def test_the_same_lora_and_prompt_everywhere_is_the_plain_lora(session, loras):
    with applied(session, loras[0], 0.8):
        plain = predicted(session, conditioned(session, ["blurry", "a shoe"]))
    regions, adapters, _ = regional(session, [loras[0]] * 2, halves(blend=6.0))
    conditioning = texts(session, adapters, ["a shoe"] * 2)
    with regions.attached():
        together = predicted(session, conditioning)
    untouched = predicted(session, conditioned(session, ["blurry", "a shoe"]))
    assert (plain - untouched).abs().max() > 0.05
    torch.testing.assert_close(together, plain, rtol=1e-4, atol=1e-4)


def test_a_layer_outside_of_a_region_is_that_of_the_base_model(session, loras):
    _, adapters, _ = regional(session, loras)
    spatial = [
        target
        for target, _ in adapters[0][0].changes()
        if target.part == "unet" and "attn2" not in target.path and "time_emb" not in target.path
    ]
    assert {target.kind for target in spatial} == {"conv", "linear"}
    generator = torch.Generator().manual_seed(0)
    inputs = [layer_input(target, generator) for target in spatial]
    base = [target.module(x) for target, x in zip(spatial, inputs, strict=True)]
    # Only the first region has a LoRA here.
    with Regional(session.denoiser, [adapters[0], []], halves()).attached():
        changed = [target.module(x) for target, x in zip(spatial, inputs, strict=True)]
    for target, before, after in zip(spatial, base, changed, strict=True):
        own, other = sides(before, target.kind), sides(after, target.kind)
        assert torch.equal(own[1], other[1]), target.path
        assert not torch.allclose(own[0], other[0], atol=1e-3), target.path


def layer_input(target, generator):
    if target.kind == "conv":
        return torch.randn(1, target.module.in_channels, HEIGHT, WIDTH, generator=generator)
    return torch.randn(1, HEIGHT * WIDTH, target.module.in_features, generator=generator)


def sides(output, kind):
    """Left and right half of a layer's output."""
    grid = output if kind == "conv" else output.transpose(1, 2).unflatten(2, (HEIGHT, WIDTH))
    return grid.split(grid.shape[3] // 2, dim=3)


def test_cross_attention_is_each_regions_own(session, loras):
    regions, adapters, unet = regional(session, loras)
    attention = text_inputs.cross_attentions(unet)[0]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, HEIGHT * WIDTH, attention.to_q.in_features, generator=generator)
    own = []
    for (adapter,), prompt in zip(adapters, ("a shoe", "a bag"), strict=True):
        with adapter.attached():
            context = conditioned(session, ["blurry", prompt]).context
            own.append(sides(attention(x, encoder_hidden_states=context), "linear"))
    conditioning = texts(session, adapters, ["a shoe", "a bag"])
    with regions.attached():
        both = sides(attention(x, encoder_hidden_states=conditioning.context), "linear")
    for half in (0, 1):
        torch.testing.assert_close(both[half], own[half][half])
        assert not torch.allclose(both[half], own[1 - half][half], atol=1e-3)


def test_the_embedding_of_time_and_pooled_text_is_each_regions_own(session, loras):
    """In front of the first block all is the same; so is its norm's input in a half, but for what is that region's."""
    regions, adapters, unet = regional(session, loras)
    norm = next(text_inputs.residual_blocks(unet)).norm
    seen, own, original = [], [], norm.forward

    def recorded(x):
        seen.append(sides(x, "conv"))
        return original(x)

    with overriding(norm, recorded):
        for (adapter,), prompt in zip(adapters, ("a shoe", "a bag"), strict=True):
            with adapter.attached():
                predicted(session, conditioned(session, ["blurry", prompt]))
                own.append(seen.pop())
        conditioning = texts(session, adapters, ["a shoe", "a bag"])
        with regions.attached():
            predicted(session, conditioning)
    for half in (0, 1):
        torch.testing.assert_close(seen[0][half], own[half][half])
        assert not torch.allclose(seen[0][half], own[1 - half][half], atol=1e-3)


def test_everything_is_as_before(session, loras):
    unet = session.denoiser
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    plain = predicted(session, conditioned(session, ["", "a shoe"]))
    regions, adapters, _ = regional(session, loras)
    conditioning = texts(session, adapters, ["a shoe", "a bag"])
    with pytest.raises(RuntimeError, match="stopped"), regions.attached():
        predicted(session, conditioning)
        raise RuntimeError("stopped")
    after = unet.state_dict()
    assert list(before) == list(after) and all(torch.equal(before[name], after[name]) for name in before)
    assert not [path for path, module in unet.named_modules() if "forward" in module.__dict__]
    assert torch.equal(predicted(session, conditioned(session, ["", "a shoe"])), plain)


def request(*regions, prompt="", loras=(), seeds=(1, 2)):
    return DrawRequest(prompt, "blurry", seeds, 32, 16, 3, 5.0, "Euler", loras, regions=regions)


def mask(masks):
    return [
        Image.fromarray((one.repeat_interleave(2, 0).repeat_interleave(2, 1) * 255).byte().numpy()) for one in masks
    ]


def difference(images, others):
    """The largest difference of two drawings in each half, 0 to 255."""
    pairs = [(np.asarray(a, int), np.asarray(b, int)) for a, b in zip(images, others, strict=True)]
    return [max(np.abs(a - b)[:, half].max() for a, b in pairs) for half in (slice(0, 16), slice(16, None))]


def test_an_image_with_the_same_in_both_regions_is_the_plain_image(drawer, loras):
    lora = WeightedLora(loras[0], 0.8)
    plain = drawer.draw(request(prompt="a shoe, on a table", loras=(lora,)))
    left, right = mask(halves(blend=4.0))
    both = [Region("a shoe", (lora,), one) for one in (left, right)]
    assert max(difference(drawer.draw(request(*both, prompt="on a table")), plain)) <= 2
    # A LoRA of the whole image acts everywhere, too.
    bare = [Region("a shoe", (), one) for one in (left, right)]
    assert max(difference(drawer.draw(request(*bare, prompt="on a table", loras=(lora,))), plain)) <= 2


def test_regions_have_their_own_prompts_and_loras_and_leave_nothing_behind(drawer, loras):
    before = drawer.draw(request(prompt="a shoe"))
    left, right = mask(halves())
    drawn = drawer.draw(
        request(Region("a shoe", (WeightedLora(loras[0]),), left), Region("a bag", (WeightedLora(loras[1]),), right))
    )
    assert min(difference(drawn, before)) > 8
    swapped = drawer.draw(
        request(Region("a shoe", (WeightedLora(loras[1]),), left), Region("a bag", (WeightedLora(loras[0]),), right))
    )
    assert min(difference(drawn, swapped)) > 8
    assert max(difference(drawer.draw(request(prompt="a shoe")), before)) == 0
