"""The session computes what diffusers' own pipelines compute, from a file as from a folder."""

from __future__ import annotations

import dataclasses
import gc
import weakref

import numpy as np
import pytest
import torch

from lora_scripts_ext.config import Config
from lora_scripts_ext.contract import Conditioning, PreviewRequest
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.hosts.standalone import session as standalone_session
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.hosts.standalone.sampler import make_scheduler
from lora_scripts_ext.models.noise_schedule import Schedule
from lora_scripts_ext.models.tokenizer import SHIPPED, Tokenizer

from . import models

CAPTIONS = ["", "a photo of an astronaut riding a horse", "Café №5, " + "very " * 100 + "long"]
SAMPLERS = ["Euler", "Euler a", "DDIM", "DPM++ 2M", "DPM++ 2M Karras"]


@pytest.fixture(scope="module", params=models.FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def paths(family, tmp_path_factory):
    folder = tmp_path_factory.mktemp(family)
    file = models.write_checkpoint(folder / "model.safetensors", family)
    return file, models.write_diffusers_folder(folder / "model", family)


@pytest.fixture(scope="module")
def session(paths):
    with StandaloneHost().open(config(paths[0])) as opened:
        yield opened


@pytest.fixture(scope="module")
def pipe(family):
    return models.pipeline(family)


def config(path, **keys):
    return Config(base_model=str(path), device="cpu", **keys)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def conditioned(session, captions):
    encoded = session.encode_text(captions)
    if encoded.pooled is None:
        return encoded
    sizes = torch.tensor([[32, 48, 0, 4, 32, 48]] * len(captions), dtype=torch.float32)
    return Conditioning(encoded.context, encoded.pooled, sizes)


def request(**changes):
    fields = {
        "prompt": "a red cube",
        "negative": "blurry",
        "seed": 3,
        "width": 48,
        "height": 32,
        "steps": 3,
        "cfg_scale": 5.0,
        "sampler": "Euler",
    }
    return PreviewRequest(**{**fields, **changes})


def test_file_and_folder_give_the_same_bits(session, paths):
    with StandaloneHost().open(config(paths[1])) as other, torch.no_grad():
        assert other.model.family == session.model.family
        assert torch.equal(other.model.alphas_cumprod, session.model.alphas_cumprod)
        texts = [conditioned(opened, CAPTIONS) for opened in (session, other)]
        assert torch.equal(texts[0].context, texts[1].context)
        assert texts[0].pooled is None or torch.equal(texts[0].pooled, texts[1].pooled)
        latents, times = noise(3, 4, 16, 24), torch.tensor([0, 500, 999])
        assert torch.equal(session.predict(latents, times, texts[0]), other.predict(latents, times, texts[1]))
        pixels = noise(1, 3, 32, 32).clamp(-1, 1)
        assert torch.equal(session.encode_images(pixels).std, other.encode_images(pixels).std)
        assert session.preview(request()).tobytes() == other.preview(request()).tobytes()


@torch.no_grad()
def test_text_equals_the_pipeline(session, pipe, family):
    ours = session.encode_text(CAPTIONS)
    theirs = pipe.encode_prompt(CAPTIONS, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
    torch.testing.assert_close(ours.context, theirs[0], rtol=1e-5, atol=1e-5)
    assert ours.context.shape == (3, 77, 128 if family == "sdxl" else 64)
    if family == "sdxl":
        torch.testing.assert_close(ours.pooled, theirs[2], rtol=1e-5, atol=1e-5)
    assert session.cut_captions == {CAPTIONS[2]}


def test_clip_skip(paths, pipe, family):
    if family == "sdxl":
        pytest.skip("SDXL always takes the last layer but one")
    theirs = pipe.encode_prompt(CAPTIONS, "cpu", 1, False, clip_skip=1)[0]
    with StandaloneHost().open(config(paths[0], clip_skip=2)) as session:
        torch.testing.assert_close(session.encode_text(CAPTIONS).context, theirs, rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match="clip_skip is 4"), StandaloneHost().open(config(paths[0], clip_skip=4)):
        pass


def test_text_is_differentiable_in_an_attached_weight(session):
    target = next(target for target in session.targets() if target.part == "te1" and target.path.endswith("fc2"))
    delta = torch.zeros_like(target.module.weight, requires_grad=True)
    plain = target.module.forward
    target.module.forward = lambda x: plain(x) + x @ delta.t()
    session.encode_text(["a cube"]).context.square().sum().backward()
    del target.module.forward
    assert delta.grad.abs().sum() > 0


@torch.no_grad()
def test_predict_equals_the_unet(session, pipe, family):
    text = conditioned(session, CAPTIONS[:2])
    latents, times = noise(2, 4, 16, 24), torch.tensor([3, 700])
    added = None
    if family == "sdxl":
        added = {"text_embeds": text.pooled, "time_ids": text.time_ids}
    theirs = pipe.unet(latents, times, encoder_hidden_states=text.context, added_cond_kwargs=added).sample
    torch.testing.assert_close(session.predict(latents, times, text), theirs, rtol=1e-5, atol=1e-5)


def test_time_ids_are_the_pipelines(pipe, family):
    if family != "sdxl":
        pytest.skip("only SDXL is conditioned on sizes")
    ids = pipe._get_add_time_ids((32, 48), (0, 4), (32, 48), torch.float32, models.POOLED_WIDTH)
    assert ids.tolist() == [[32, 48, 0, 4, 32, 48]]


@torch.no_grad()
def test_latents_equal_the_vae(session, pipe, family):
    pixels = noise(2, 3, 32, 48).clamp(-1, 1)
    ours, theirs = session.encode_images(pixels), pipe.vae.encode(pixels).latent_dist
    assert ours.mean.shape == (2, 4, 16, 24)
    torch.testing.assert_close(ours.mean, theirs.mean * models.SCALING[family], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.std, theirs.std * models.SCALING[family], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
@pytest.mark.parametrize("negative", ["blurry", ""])
def test_preview_equals_the_pipeline(session, pipe, sampler, negative, monkeypatch):
    latents = []
    sample = standalone_session.sample
    monkeypatch.setattr(standalone_session, "sample", lambda *args: latents.append(sample(*args)) or latents[0])
    image = session.preview(request(sampler=sampler, negative=negative))
    assert image.size == (48, 32)
    pipe.scheduler = make_scheduler(sampler, Schedule(), "epsilon")
    theirs = pipe(
        prompt="a red cube",
        negative_prompt=negative or None,
        latents=noise(1, 4, 16, 24, seed=3),
        width=48,
        height=32,
        num_inference_steps=3,
        guidance_scale=5.0,
        output_type="latent",
    ).images
    torch.testing.assert_close(latents[0], theirs, rtol=1e-3, atol=1e-3)


def test_every_sampler_draws_from_its_seed(session):
    for sampler in SAMPLERS:
        first, again, other = (session.preview(request(sampler=sampler, seed=s, steps=2)).tobytes() for s in (1, 1, 2))
        assert first == again != other


def test_preview_rounds_its_size_and_leaves_the_random_state(session):
    before = torch.get_rng_state()
    step = 8 if session.model.family == "sdxl" else 4
    assert session.preview(request(width=step * 5 + 1, height=1)).size == (step * 5, step)
    assert torch.equal(torch.get_rng_state(), before)


def test_preview_has_the_adapter_attached(session):
    plain = session.preview(request())
    target = next(target for target in session.targets() if target.path == "conv_out")
    forward = target.module.forward
    target.module.forward = lambda x: 1.5 * forward(x)
    changed = session.preview(request())
    del target.module.forward
    assert changed.tobytes() != plain.tobytes()
    assert session.preview(request()).tobytes() == plain.tobytes()


def test_unknown_sampler(session):
    with pytest.raises(UserError, match="valid: Euler"):
        session.preview(request(sampler="Heun"))


def test_a_part_goes_to_the_device_when_it_is_needed(paths):
    """The meta device stands in for a small card."""
    with StandaloneHost().open(config(paths[0])) as session:
        session.model = dataclasses.replace(session.model, device=torch.device("meta"))
        parts = {"vae": session._vae, "text": session._text.models[0], "unet": session._unet}

        def on_device():
            return {name for name, part in parts.items() if next(part.parameters()).is_meta}

        assert on_device() == set()
        latents = session.encode_images(noise(1, 3, 64, 64))
        assert on_device() == {"vae"}
        conditioning = session.encode_text(["a"])
        assert on_device() == {"vae", "text"}
        time_ids = torch.zeros(1, 6) if conditioning.pooled is not None else None
        predicted = session.predict(latents.mean, torch.zeros(1), dataclasses.replace(conditioning, time_ids=time_ids))
        assert on_device() == {"vae", "text", "unet"}
        assert predicted.is_meta


def test_everything_is_frozen_and_in_eval_mode(session):
    for target in session.targets():
        assert not target.module.weight.requires_grad and not target.module.training


def test_blocks_are_the_unets_units(session, family):
    kinds = [type(block).__name__ for block in session.blocks()]
    assert kinds.count("ResnetBlock2D") == (17 if family == "sdxl" else 12)
    assert kinds.count("BasicTransformerBlock") == (17 if family == "sdxl" else 6)


def test_v_prediction_with_zero_terminal_snr_draws(paths):
    keys = {"prediction_type": "v_prediction", "zero_terminal_snr": True}
    with StandaloneHost().open(config(paths[0], **keys)) as session:
        assert session.model.zero_terminal_snr and session.model.alphas_cumprod[-1] == 0
        for sampler in SAMPLERS:
            assert np.asarray(session.preview(request(sampler=sampler, steps=2))).std() > 1


def test_zero_terminal_snr_starts_at_the_last_step():
    scheduler = make_scheduler("Euler", Schedule(zero_terminal_snr=True), "v_prediction")
    scheduler.set_timesteps(4)
    assert scheduler.timesteps[0] == 999


def test_open_leaves_nothing_behind(paths):
    before, settings = torch.get_rng_state(), torch.backends.cudnn.deterministic
    host = StandaloneHost()
    with host.open(config(paths[0], output_dir="out")) as session:
        assert str(host.lora_dir()) == "out"
        block = weakref.ref(next(session.blocks()))
        torch.manual_seed(5)
    gc.collect()
    assert block() is None
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.backends.cudnn.deterministic == settings


def test_shipped_tokenizer_is_clips():
    """The numbers are those that CLIP's own tokenizer gives, as in its and diffusers' documentation."""
    tokens = Tokenizer.read(SHIPPED, 0, 77, 49408)(["a photo of an astronaut riding a horse"])
    assert tokens.shape == (1, 77)
    assert tokens[0, :10].tolist() == [49406, 320, 1125, 539, 550, 18376, 6765, 320, 4558, 49407]
    assert not tokens[0, 10:].any()
