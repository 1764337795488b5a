"""The standalone host draws finished images: what diffusers' pipelines draw, with LoRAs, seeds and inpainting."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline, StableDiffusionXLInpaintPipeline
from PIL import Image
from safetensors.torch import save_file

from lora_scripts_ext.contract import Control, DrawRequest, Inpainting, Region, WeightedLora
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.hosts.standalone.sampler import make_scheduler
from lora_scripts_ext.models.noise_schedule import Schedule

from . import models

WIDTH, HEIGHT = 48, 32
# Of both families: the model's middle block.
LAYERS = {
    "mid_block.attentions.0.transformer_blocks.0.attn1.to_q": "mid_block_attentions_0_transformer_blocks_0_attn1_to_q",
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_v": "mid_block_attentions_0_transformer_blocks_0_attn2_to_v",
}


# SD2 differs from SD1 in its text encoder alone.
@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def family(request):
    return request.param


@pytest.fixture(scope="module")
def file(family, tmp_path_factory):
    return models.write_checkpoint(tmp_path_factory.mktemp(family) / "model.safetensors", family)


@pytest.fixture(scope="module")
def pipe(family):
    return models.pipeline(family)


@pytest.fixture(scope="module")
def drawer(file):
    with StandaloneHost().drawing(str(file)) as opened:
        yield opened


@pytest.fixture(scope="module")
def sd1(tmp_path_factory):
    file = models.write_checkpoint(tmp_path_factory.mktemp("sd1") / "model.safetensors", "sd1")
    with StandaloneHost().drawing(str(file)) as opened:
        yield opened


def request(**changes):
    fields = {
        "prompt": "a red cube",
        "negative": "blurry",
        "seeds": (3,),
        "width": WIDTH,
        "height": HEIGHT,
        "steps": 2,
        "cfg_scale": 5.0,
        "sampler": "Euler",
    }
    return DrawRequest(**{**fields, **changes})


def write_lora(path: Path, seed: int, size: float = 1.0) -> dict[str, torch.Tensor]:
    """A LoRA of rank 2 with alpha 1 for two layers; gives its effect on the weights, by their path."""
    generator = torch.Generator().manual_seed(seed)
    tensors, effects = {}, {}
    shapes = {"attn1.to_q": (64, 64), "attn2.to_v": (64, models.TEXT_WIDTH)}
    for layer, key in LAYERS.items():
        outputs, inputs = next(shape for end, shape in shapes.items() if layer.endswith(end))
        down, up = (torch.randn(shape, generator=generator) * size for shape in ((2, inputs), (outputs, 2)))
        tensors |= {f"lora_unet_{key}.lora_down.weight": down, f"lora_unet_{key}.lora_up.weight": up}
        tensors[f"lora_unet_{key}.alpha"] = torch.tensor(1.0)
        effects[layer] = up @ down / 2
    save_file(tensors, path)
    return effects


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))


def right_half() -> Image.Image:
    """White from the column 24 on."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, WIDTH // 2 :] = 255
    return Image.fromarray(mask)


def assert_like(image: Image.Image, expected: np.ndarray, most: int = 1) -> None:
    difference = np.abs(np.asarray(image).astype(int) - np.asarray(expected).astype(int))
    assert difference.max() <= most, difference.max()


def theirs(pipe, **arguments):
    images = pipe(
        prompt="a red cube",
        negative_prompt="blurry",
        width=WIDTH,
        height=HEIGHT,
        num_inference_steps=2,
        guidance_scale=5.0,
        output_type="pil",
        generator=torch.Generator().manual_seed(3),
        **arguments,
    ).images
    return np.asarray(images[0])


def test_an_image_is_the_pipelines(drawer, pipe):
    assert_like(drawer.draw(request())[0], theirs(pipe))


def test_several_loras_act_with_their_weights(sd1, tmp_path):
    pipe = models.pipeline("sd1")
    loras = []
    for seed, weight in ((1, 0.7), (2, -0.4)):
        effects = write_lora(tmp_path / f"{seed}.safetensors", seed, 0.3)
        loras.append(WeightedLora(tmp_path / f"{seed}.safetensors", weight))
        with torch.no_grad():
            for layer, effect in effects.items():
                pipe.unet.get_submodule(layer).weight += weight * effect
    drawn = sd1.draw(request(loras=tuple(loras)))[0]
    assert_like(drawn, theirs(pipe))
    assert drawn.tobytes() != sd1.draw(request(loras=tuple(loras[:1])))[0].tobytes()


def test_nothing_of_a_lora_stays(sd1, tmp_path):
    plain = sd1.draw(request())[0].tobytes()
    write_lora(tmp_path / "a.safetensors", 1)
    lora = WeightedLora(tmp_path / "a.safetensors", 1.0)
    assert sd1.draw(request(loras=(lora,)))[0].tobytes() != plain
    assert sd1.draw(request(loras=(dataclasses.replace(lora, weight=0.0),)))[0].tobytes() == plain
    assert sd1.draw(request())[0].tobytes() == plain


def test_a_lora_that_changed_on_the_disk_is_read_again(sd1, tmp_path):
    path = tmp_path / "a.safetensors"
    drawn = []
    for seed in (1, 2):
        write_lora(path, seed)
        os.utime(path, (seed, seed))
        drawn.append(sd1.draw(request(loras=(WeightedLora(path),)))[0].tobytes())
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M Karras"])
def test_a_seed_draws_its_image_in_any_batch(drawer, sampler):
    batch = drawer.draw(request(sampler=sampler, seeds=(3, 4, 5)))
    assert len({image.tobytes() for image in batch}) == 3
    for seed, image in zip((3, 4, 5), batch, strict=True):
        assert_like(drawer.draw(request(sampler=sampler, seeds=(seed,)))[0], image)


@pytest.mark.parametrize(("sampler", "strength"), [("Euler", 1.0), ("DDIM", 0.5), ("DPM++ 2M", 0.5)])
def test_inpainting_is_the_pipelines(drawer, pipe, family, strength, sampler, monkeypatch):
    kind = StableDiffusionXLInpaintPipeline if family == "sdxl" else StableDiffusionInpaintPipeline
    pipe = kind.from_pipe(pipe)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = make_scheduler(sampler, Schedule(), "epsilon")
    encode = pipe.vae.encode

    def mean_alone(pixels):
        mean = encode(pixels).latent_dist.mean
        return SimpleNamespace(latent_dist=SimpleNamespace(sample=lambda generator: mean))

    # Ours takes the mean, theirs one of many samples.
    monkeypatch.setattr(pipe.vae, "encode", mean_alone)
    drawn = drawer.draw(request(sampler=sampler, inpainting=Inpainting(picture(), right_half(), strength)))[0]
    expected = theirs(pipe, image=picture(), mask_image=right_half(), strength=strength)
    assert_like(drawn.crop((24, 0, 48, 32)), expected[:, 24:], 2)


def test_what_is_not_masked_keeps_its_pixels(drawer):
    kept = Inpainting(picture(), right_half())
    images = drawer.draw(request(seeds=(1, 2), inpainting=kept))
    for image in images:
        assert np.array_equal(np.asarray(image)[:, :24], np.asarray(picture())[:, :24])
    assert np.asarray(images[0])[:, 24:].tobytes() != np.asarray(images[1])[:, 24:].tobytes()


def test_strength_0_is_the_image(drawer):
    kept = Inpainting(picture(), right_half(), 0.0)
    assert [image.tobytes() for image in drawer.draw(request(seeds=(1, 2), inpainting=kept))] == [
        picture().tobytes()
    ] * 2


def test_sizes_that_the_model_does_not_take(drawer):
    kept = Inpainting(picture().crop((0, 0, 45, 31)), right_half().crop((0, 0, 45, 31)))
    image = drawer.draw(request(width=45, height=31, inpainting=kept))[0]
    assert image.size == (45, 31) and image.mode == "RGB"
    assert np.array_equal(np.asarray(image)[:, :24], np.asarray(picture())[:31, :24])


def test_facts(drawer, file, family):
    from hashlib import sha256

    assert drawer.model_name == file.stem and drawer.model_hash == sha256(file.read_bytes()).hexdigest()
    assert drawer.resolution == {"sd1": 512, "sdxl": 1024}[family]
    assert drawer.cfg_scale == 7.0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"control": Control(Image.new("RGB", (8, 8)), "canny", "model")}, "no ControlNet"),
        ({"reference": Control(Image.new("RGB", (8, 8)), "", "ip-adapter")}, "no IP-Adapter"),
        ({"sampler": "Heun"}, "no sampler 'Heun'.*valid: Euler"),
    ],
)
def test_what_it_lacks_is_said(sd1, changes, sentence):
    assert sd1.lacks(request()) == ""
    assert re.search(sentence, sd1.lacks(request(**changes)))
    with pytest.raises(UserError, match=sentence):
        sd1.draw(request(**changes))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 0}, "in 0 steps"),
        ({"inpainting": Inpainting(Image.new("RGB", (8, 8)), right_half())}, "image to inpaint has 8 x 8"),
        ({"inpainting": Inpainting(picture(), Image.new("L", (8, 9)))}, "mask to inpaint has 8 x 9"),
        ({"inpainting": Inpainting(picture(), right_half(), 1.5)}, "denoising_strength is 1.5"),
        ({"loras": (WeightedLora(Path("a.safetensors"), float("nan")),)}, "its weight is nan"),
        ({"regions": (Region("a", (), Image.new("L", (8, 8), 255)),)}, "mask of region 1 has 8 x 8"),
        ({"regions": (Region("a", (), right_half()),)}, "leave a part of the image out"),
        ({"loras": (WeightedLora(Path("none.safetensors")),)}, "none.safetensors: there is no such"),
    ],
)
def test_what_is_wrong_is_said(sd1, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        sd1.draw(request(**changes))
    assert len(sd1.draw(request())) == 1


def test_a_batch_that_is_too_large_is_drawn_in_parts(sd1, monkeypatch):
    whole = sd1.draw(request(seeds=(1, 2, 3, 4, 5)))
    draw_batch, sizes = sd1._session.draw_batch, []

    def small(asked):
        sizes.append(len(asked.seeds))
        if len(asked.seeds) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return draw_batch(asked)

    monkeypatch.setattr(sd1._session, "draw_batch", small)
    for image, expected in zip(sd1.draw(request(seeds=(1, 2, 3, 4, 5))), whole, strict=True):
        assert_like(image, expected)
    assert sizes == [5, 2, 2, 1]
    monkeypatch.setattr(sd1._session, "draw_batch", lambda asked: bytearray(1 << 62))
    with pytest.raises(UserError, match="not enough memory for an image of 48 x 32"):
        sd1.draw(request())


def test_drawing_leaves_nothing_behind(file):
    before = torch.get_rng_state()
    with StandaloneHost().drawing(str(file)) as drawer:
        drawer.draw(request())
    assert torch.equal(torch.get_rng_state(), before)
