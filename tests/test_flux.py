"""Flux in the standalone host computes what diffusers' pipeline computes, from a folder as from a file, and trains."""

import dataclasses
import json

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lora_scripts_ext.adapters import file
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.config import Config
from lora_scripts_ext.contract import Conditioning, PreviewRequest
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.families.registry import by_name
from lora_scripts_ext.hosts.standalone import session as standalone_session
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.hosts.standalone.inspection import inspect
from lora_scripts_ext.models.flux import Flux
from lora_scripts_ext.models.weights import take_all
from lora_scripts_ext.training.attach import attached
from lora_scripts_ext.training.estimate import estimate

from . import flux, models, shop
from .test_run import same_tensors, train
from .test_run_resumed import stopped_at

CAPTIONS = ["", "a photo of an astronaut riding a horse", "Café №5, " + "very " * 300 + "long"]


@pytest.fixture(scope="module", params=["dev", "schnell"])
def variant(request):
    return request.param


@pytest.fixture(scope="module")
def folder(variant, tmp_path_factory):
    return flux.write_folder(tmp_path_factory.mktemp(variant) / "flux", variant)


@pytest.fixture(scope="module")
def pipe(variant):
    return flux.pipeline(variant)


@pytest.fixture(scope="module")
def session(folder):
    with StandaloneHost().open(config(folder)) as opened:
        yield opened


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return flux.write_file(tmp_path_factory.mktemp("file") / "flux.safetensors")


def config(path, **keys):
    return Config(base_model=str(path), device="cpu", **keys)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def encode(pipe, captions):
    context, pooled, _ = pipe.encode_prompt(captions, captions, max_sequence_length=256)
    return context, pooled


def predict(pipe, *arguments):
    return predict_with(pipe.transformer, *arguments)


def predict_with(transformer, noisy, timesteps, context, pooled, guidance):
    """diffusers' transformer on latents [batch, 16, height, width]."""
    scale = torch.full((len(noisy),), guidance) if transformer.config.guidance_embeds else None
    return flux.predict(transformer, noisy, timesteps, context, pooled_projections=pooled, guidance=scale)


@torch.no_grad()
def test_text_is_that_of_the_pipeline(session, pipe):
    encoded = session.encode_text(CAPTIONS)
    context, pooled = encode(pipe, CAPTIONS)
    assert encoded.context.shape == (3, 256, flux.CONTEXT)
    torch.testing.assert_close(encoded.context, context, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(encoded.pooled, pooled, rtol=1e-4, atol=1e-4)
    assert session.cut_captions == {CAPTIONS[2]} and session.caption_tokens == 255


@torch.no_grad()
def test_latents_are_those_of_the_vae(session, pipe):
    pixels = noise(2, 3, 32, 48).clamp(-1, 1)
    ours, theirs = session.encode_images(pixels), pipe.vae.encode(pixels).latent_dist
    assert ours.mean.shape == (2, 16, 16, 24)
    torch.testing.assert_close(ours.mean, (theirs.mean - flux.SHIFT) * flux.SCALE, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.std, theirs.std * flux.SCALE, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_flow_is_that_of_diffusers(session, pipe, variant):
    info = session.model
    assert (info.family, info.variant, info.prediction_type, info.vae_factor) == ("flux", variant, "flow", 2)
    assert info.alphas_cumprod.numel() == 0
    context, pooled = encode(pipe, CAPTIONS[:2])
    noisy, timesteps = noise(2, 16, 8, 12), torch.tensor([0.3, 0.95])
    ours = session.predict(noisy, timesteps, Conditioning(context, pooled))
    torch.testing.assert_close(ours, predict(pipe, noisy, timesteps, context, pooled, 1.0), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_file_holds_the_model_of_the_folder(checkpoint):
    pipe = flux.pipeline()
    noisy, timesteps = noise(1, 16, 8, 8), torch.tensor([0.5])
    context, pooled = encode(pipe, ["a shoe"])
    with StandaloneHost().open(config(checkpoint)) as session:
        assert session.model.variant == "dev"
        ours = session.predict(noisy, timesteps, session.encode_text(["a shoe"]))
        torch.testing.assert_close(ours, predict(pipe, noisy, timesteps, context, pooled, 1.0), rtol=1e-4, atol=1e-4)
        ours, theirs = session.encode_images(noise(1, 3, 32, 32)), pipe.vae.encode(noise(1, 3, 32, 32)).latent_dist
        torch.testing.assert_close(ours.mean, (theirs.mean - flux.SHIFT) * flux.SCALE, rtol=1e-4, atol=1e-4)


def request(**changes):
    values = {"prompt": "a red cube", "negative": "", "seed": 3, "width": 48, "height": 32, "steps": 3}
    return PreviewRequest(**{**values, "cfg_scale": 3.5, "sampler": "Euler", **changes})


def test_a_preview_is_the_image_of_the_pipeline(session, pipe, monkeypatch):
    samples = []
    sample = standalone_session.sample_flow
    monkeypatch.setattr(standalone_session, "sample_flow", lambda *args: samples.append(sample(*args)) or samples[0])
    image = session.preview(request())
    assert image.size == (48, 32)
    latents = noise(1, 16, 16, 24, seed=3)
    # The pipeline takes eight pixels a cell for granted.
    expected = pipe(
        prompt="a red cube",
        latents=pipe._pack_latents(latents, 1, 16, 16, 24),
        height=16 * pipe.vae_scale_factor,
        width=24 * pipe.vae_scale_factor,
        num_inference_steps=3,
        guidance_scale=3.5,
        max_sequence_length=256,
        output_type="latent",
    ).images
    expected = pipe._unpack_latents(expected, 16 * 8, 24 * 8, 8)
    torch.testing.assert_close(samples[0], expected, rtol=1e-3, atol=1e-3)
    monkeypatch.undo()
    assert session.preview(request(seed=4)).tobytes() != image.tobytes()


def test_a_sampler_that_is_none_for_a_flow_gets_a_sentence(session):
    with pytest.raises(UserError, match="preview_sampler is 'DDIM'; a base model that predicts a flow"):
        session.preview(request(sampler="DDIM"))


def test_images_become_a_lora_with_previews(checkpoint, data, tmp_path):
    values = {"epochs": 4, "target": "full", "preview_epochs": 4, "preview_steps": 2, "preview_prompts": ["a cup"]}
    result = train(shop.make_config(data, checkpoint, tmp_path / "out", **values))
    assert result.steps == 12 and [path.name for path in result.previews] == ["out-e0000-00.png", "out-e0004-00.png"]
    first, last = (path.read_bytes() for path in result.previews)
    assert first != last
    with safe_open(result.lora, "pt") as opened:
        metadata = opened.metadata()
    assert (metadata["ss_base_model_version"], metadata["modelspec.architecture"]) == ("flux1", "flux-1-dev/lora")


@torch.no_grad()
def test_diffusers_reads_model_and_lora_with_the_same_effect(tmp_path):
    """At the real width, which diffusers takes for granted where it splits joined layers."""
    transformer = FluxTransformer2DModel(
        num_layers=1, num_single_layers=1, joint_attention_dim=flux.CONTEXT, pooled_projection_dim=flux.POOLED,
        guidance_embeds=True,
    )  # fmt: skip
    models.fill(transformer, torch.Generator().manual_seed(1))
    kind, state = Flux(), transformer.state_dict()
    settings = kind.folder_config(transformer.config)
    original = take_all(kind.folder_sources(list(state), settings), state)
    converted = convert_flux_transformer_checkpoint_to_diffusers(dict(original))
    assert converted.keys() == state.keys() and all(torch.equal(converted[name], state[name]) for name in state)
    with torch.device("meta"):
        ours = kind.build(settings)
    ours.load_state_dict(original, assign=True)
    ours.requires_grad_(False)
    adapter = Adapter(select(list(kind.targets(ours, by_name("flux"))), "full", False), 4, 2.0)
    adapter.weights.copy_(0.05 * noise(adapter.weights.numel()))
    adapter.refresh()
    noisy, timesteps = noise(1, 16, 4, 4), torch.tensor([0.5])
    context, pooled = noise(1, 256, flux.CONTEXT), noise(1, flux.POOLED)

    def theirs():
        return predict_with(transformer, noisy, timesteps, context, pooled, 1.0)

    def own():
        return kind.predict(ours, noisy, timesteps, Conditioning(context, pooled), 1.0)

    plain = theirs()
    torch.testing.assert_close(own(), plain, rtol=1e-4, atol=1e-4)
    with attached(adapter, kind.targets(ours, by_name("flux")), kind.blocks(ours), gradient_checkpointing=False):
        with_lora = own()
    file.save(tmp_path / "lora.safetensors", adapter.layers(), torch.float32, {})
    state, alphas = FluxPipeline.lora_state_dict(tmp_path / "lora.safetensors", return_alphas=True)
    FluxPipeline.load_lora_into_transformer(state, alphas, transformer)
    assert (with_lora - plain).abs().max() > 0.1
    torch.testing.assert_close(with_lora, theirs(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("recomputed", [False, True])
def test_a_run_is_resumed_to_the_same_bytes_and_continued(recomputed, checkpoint, data, tmp_path):
    values = {
        "epochs": 3, "save_precision": "fp32", "lora_dropout": 0.1, "gradient_checkpointing": recomputed,
        "shuffle_caption": True,
    }  # fmt: skip
    uninterrupted = train(shop.make_config(data, checkpoint, tmp_path / "whole", **values))
    half = shop.make_config(data, checkpoint, tmp_path / "half", **values)
    stopped_at(half, 4)
    resumed = train(half, resume=True)
    assert resumed.steps == uninterrupted.steps == 9 and same_tensors(resumed.lora, uninterrupted.lora)
    further = shop.make_config(
        data,
        checkpoint,
        tmp_path / "further",
        **{**values, "epochs": 1, "init_lora": str(uninterrupted.lora), "learning_rate": 1e-9},
    )
    before, after = load_file(uninterrupted.lora), load_file(train(further).lora)
    assert before.keys() == after.keys()
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("precision", [{"mixed_precision": "bf16"}, {"fp8_base": True}], ids=str)
def test_a_frozen_model_in_fewer_bits_is_trained_on(precision, checkpoint, data, tmp_path):
    losses = [
        train(shop.make_config(data, checkpoint, tmp_path / name, max_steps=3, **values)).loss
        for name, values in (("fp32", {}), ("few", precision))
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_the_estimate_counts_transformer_and_text_encoders(checkpoint, data, tmp_path):
    run_config = shop.make_config(data, checkpoint, tmp_path / "out", shuffle_caption=True)
    inspected = inspect(run_config)
    estimated = estimate(run_config, inspected)
    assert set(inspected.sizes) == {"unet", "vae", "te1", "te2"} and inspected.texts == []
    pipe = flux.pipeline()
    assert inspected.sizes["unet"].parameters == sum(one.numel() for one in pipe.transformer.parameters())
    assert inspected.sizes["te2"].parameters == sum(one.numel() for one in pipe.text_encoder_2.parameters())
    result = train(run_config)
    assert estimated.steps == result.steps
    captions = sum(len(load_file(path)["context"]) for path in (tmp_path / "out" / "cache" / "text").iterdir())
    assert estimated.text_bytes == captions * 4 * (256 * flux.CONTEXT + flux.POOLED)


def test_text_encoders_that_do_not_learn_are_refused(checkpoint, data, tmp_path):
    run_config = shop.make_config(data, checkpoint, tmp_path / "out", train_text_encoder=True)
    for refused in (inspect, train):
        with pytest.raises(UserError, match="train_text_encoder is on; Flux's text encoders"):
            refused(run_config)


def test_what_is_no_whole_flux_is_refused_with_a_sentence(folder, checkpoint, tmp_path):
    tensors = load_file(checkpoint)
    transformer_only = tmp_path / "alone.safetensors"
    save_file({name: tensor for name, tensor in tensors.items() if name.startswith("model.")}, transformer_only)
    with pytest.raises(UserError, match="no text encoder clip_l and no text encoder t5xxl and no VAE"):
        inspect(config(transformer_only))
    path = folder / "transformer" / "config.json"
    model_config = json.loads(path.read_text())
    try:
        for changes, sentence in (
            ({"in_channels": 384}, r"fill, depth or canny model \(384 input channels\)"),
            ({"_class_name": "SD3Transformer2DModel"}, "this is a SD3Transformer2DModel, expected Chroma.* or Flux"),
            ({"axes_dims_rope": [16, 8, 8]}, "axes_dims_rope is"),
        ):
            path.write_text(json.dumps({**model_config, **changes}))
            with pytest.raises(UserError, match=sentence):
                inspect(config(folder))
    finally:
        path.write_text(json.dumps(model_config))
    for family in ("sd1", "sdxl"):
        with pytest.raises(UserError, match="set model_family: auto"):
            inspect(dataclasses.replace(config(folder), model_family=family))


def write_parts(checkpoint, out):
    """The checkpoint as the hub serves it: the transformer alone, and a file for each of the other parts."""
    tensors = load_file(checkpoint)
    prefixes = {
        "base_model": "model.diffusion_model.",
        "clip_l": "text_encoders.clip_l.transformer.",
        "t5xxl": "text_encoders.t5xxl.transformer.",
        "vae": "vae.",
    }
    for key, prefix in prefixes.items():
        part = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        save_file(part, out / f"{key}.safetensors")
    return {key: str(out / f"{key}.safetensors") for key in prefixes}


@torch.no_grad()
def test_parts_in_files_of_their_own_are_the_same_model(checkpoint, tmp_path):
    files = write_parts(checkpoint, tmp_path)
    noisy, timesteps, pixels = noise(1, 16, 8, 8), torch.tensor([0.5]), noise(1, 3, 32, 32)
    results = []
    for keys in ({"base_model": str(checkpoint)}, files):
        with StandaloneHost().open(Config(device="cpu", **keys)) as session:
            encoded = session.encode_text(["a shoe"])
            results.append((session.predict(noisy, timesteps, encoded), session.encode_images(pixels).mean))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@torch.no_grad()
def test_a_vae_in_diffusers_names_is_read_too(checkpoint, folder, tmp_path):
    files = write_parts(checkpoint, tmp_path)
    means = []
    for vae in (files["vae"], str(folder / "vae" / "diffusion_pytorch_model.safetensors")):
        with StandaloneHost().open(Config(device="cpu", **{**files, "vae": vae})) as session:
            means.append(session.encode_images(noise(1, 3, 32, 32)).mean)
    assert torch.equal(*means)


def test_files_of_parts_are_checked(checkpoint, tmp_path):
    files = write_parts(checkpoint, tmp_path)
    sd1 = models.write_checkpoint(tmp_path / "sd1.safetensors", "sd1")
    for changes, sentence in (
        ({"vae": ""}, "has no VAE; name the file with it in vae, or give a version"),
        (
            {"clip_l": "", "t5xxl": ""},
            "no text encoder clip_l and no text encoder t5xxl; name files with them in clip_l and",
        ),
        ({"vae": files["t5xxl"]}, r"vae .*t5xxl.safetensors: this file is not what vae needs: it is not built as"),
        ({"t5xxl": files["vae"]}, "t5xxl .*: this file is not what t5xxl needs: the tensor .* is missing"),
        ({"clip_l": str(tmp_path / "none.safetensors")}, "none.safetensors: there is no such file"),
        ({"base_model": str(sd1)}, "t5xxl is set; Stable Diffusion 1 has no such text encoder"),
        ({"base_model": str(tmp_path)}, "vae: .* is a folder with parts of its own"),
    ):
        with pytest.raises(UserError, match=sentence):
            inspect(Config(device="cpu", **{**files, **changes}))


@torch.no_grad()
def test_another_vae_takes_the_place_of_the_checkpoints_own(tmp_path):
    first, second = (models.write_checkpoint(tmp_path / f"{seed}.safetensors", "sd1", seed=seed) for seed in (1, 2))
    pixels = noise(1, 3, 32, 32)
    means = []
    for keys in ({}, {"vae": str(second)}):
        with StandaloneHost().open(config(first, **keys)) as session:
            means.append(session.encode_images(pixels).mean)
    with StandaloneHost().open(config(second)) as session:
        assert torch.equal(session.encode_images(pixels).mean, means[1])
    assert not torch.equal(*means)
