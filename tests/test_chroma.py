"""Chroma in the standalone host computes what diffusers' transformer computes, and trains."""

from pathlib import Path

import pytest
import torch
from diffusers import ChromaPipeline, ChromaTransformer2DModel, FlowMatchEulerDiscreteScheduler
from diffusers.loaders.single_file_utils import convert_chroma_transformer_checkpoint_to_diffusers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lora_scripts_ext.adapters import file
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.base_models.diffusers_folder import read_folder
from lora_scripts_ext.base_models.original_layout import UNET
from lora_scripts_ext.config import Config
from lora_scripts_ext.contract import Conditioning
from lora_scripts_ext.families.registry import by_name
from lora_scripts_ext.hosts.standalone import session as standalone_session
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.hosts.standalone.inspection import inspect
from lora_scripts_ext.models.chroma import Chroma
from lora_scripts_ext.models.vae import vae_to_original
from lora_scripts_ext.models.weights import take_all
from lora_scripts_ext.training.attach import attached
from lora_scripts_ext.training.estimate import estimate

from . import flux, models, shop
from .test_flux import noise, request
from .test_run import same_tensors, train
from .test_run_resumed import stopped_at

CAPTIONS = ["", "a photo of an astronaut riding a horse", "Café №5"]


def pipeline() -> ChromaPipeline:
    transformer = ChromaTransformer2DModel(
        in_channels=64, num_layers=2, num_single_layers=2, attention_head_dim=32, num_attention_heads=2,
        joint_attention_dim=flux.CONTEXT, axes_dims_rope=(4, 14, 14), approximator_hidden_dim=48,
        approximator_num_channels=64, approximator_layers=2,
    )  # fmt: skip
    parts = [transformer, flux.vae(), flux.t5()]
    for index, part in enumerate(parts):
        models.fill(part, torch.Generator().manual_seed(70 + index))
    pipe = ChromaPipeline(
        transformer=transformer, vae=parts[1], text_encoder=parts[2], tokenizer=flux.t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def pipe():
    return pipeline()


@pytest.fixture(scope="module")
def folder(pipe, tmp_path_factory):
    path = tmp_path_factory.mktemp("chroma") / "chroma"
    pipe.save_pretrained(path, safe_serialization=True)
    return path


@pytest.fixture(scope="module")
def checkpoint(pipe, folder) -> Path:
    """The model (fp16) in one file, as ComfyUI saves it, with leftovers of Flux's modulation."""
    transformer = read_folder(folder).unet.load(torch.device("cpu"), torch.float32).state_dict()
    t5 = pipe.text_encoder.state_dict()
    t5.pop("encoder.embed_tokens.weight", None)
    tensors = {f"{UNET}{name}": tensor for name, tensor in transformer.items()}
    tensors |= {f"vae.{name}": tensor for name, tensor in vae_to_original(pipe.vae.state_dict()).items()}
    tensors |= {f"text_encoders.t5xxl.transformer.{name}": tensor for name, tensor in t5.items()}
    tensors[f"{UNET}double_blocks.0.img_mod.lin.weight"] = torch.zeros(4, 4)
    save_file(
        {name: tensor.half().contiguous() for name, tensor in tensors.items()}, folder.with_suffix(".safetensors")
    )
    return folder.with_suffix(".safetensors")


@pytest.fixture(scope="module", params=["folder", "checkpoint"])
def session(request):
    path = request.getfixturevalue(request.param)
    with StandaloneHost().open(Config(base_model=str(path), device="cpu")) as opened:
        yield opened


@torch.no_grad()
def embed(pipe, caption):
    """T5's output [1, tokens, width] for a caption alone, with its end token and without padding."""
    return pipe.text_encoder(pipe.tokenizer(caption, return_tensors="pt").input_ids)[0]


@torch.no_grad()
def predict(transformer, noisy, timesteps, context):
    """diffusers' transformer on latents [batch, 16, height, width], without padding or mask."""
    return flux.predict(transformer, noisy, timesteps, context)


@torch.no_grad()
def test_captions_are_encoded_alone_and_padded_with_zeros(session, pipe):
    encoded = session.encode_text(CAPTIONS)
    assert encoded.context.shape == (3, 256, flux.CONTEXT) and encoded.pooled is None
    for row, caption in zip(encoded.context, CAPTIONS, strict=True):
        context = embed(pipe, caption)[0]
        torch.testing.assert_close(row[: len(context)], context, rtol=1e-4, atol=1e-4)
        assert not row[len(context) :].any()


@torch.no_grad()
def test_the_flow_of_a_padded_batch_is_that_of_each_caption_alone(session, pipe):
    info = session.model
    assert (info.family, info.prediction_type, info.vae_factor) == ("chroma", "flow", 2)
    noisy, timesteps = noise(3, 16, 8, 12), torch.tensor([0.3, 0.95, 0.5])
    ours = session.predict(noisy, timesteps, session.encode_text(CAPTIONS))
    for index, caption in enumerate(CAPTIONS):
        one = slice(index, index + 1)
        theirs = predict(pipe.transformer, noisy[one], timesteps[one], embed(pipe, caption))
        torch.testing.assert_close(ours[one], theirs, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_a_preview_follows_the_guided_flow(session, pipe, monkeypatch):
    latents = []
    sample = standalone_session.sample_flow
    monkeypatch.setattr(standalone_session, "sample_flow", lambda *args: latents.append(sample(*args)) or latents[-1])
    assert session.preview(request(negative="blurry", cfg_scale=5.0)).size == (48, 32)
    expected = noise(1, 16, 16, 24, seed=3)
    # Euler's method on evenly spaced times.
    for time in (1, 2 / 3, 1 / 3):
        at = torch.tensor([time])
        negative, positive = (
            predict(pipe.transformer, expected, at, embed(pipe, one)) for one in ("blurry", "a red cube")
        )
        expected = expected - (negative + 5 * (positive - negative)) / 3
    torch.testing.assert_close(latents[0], expected, rtol=1e-3, atol=2e-3)


def test_images_become_a_lora_and_a_run_is_resumed_to_the_same_bytes(checkpoint, data, tmp_path):
    values = {"epochs": 3, "save_precision": "fp32", "lora_dropout": 0.1, "shuffle_caption": True}
    config = shop.make_config(data, checkpoint, tmp_path / "whole", **values, preview_epochs=3, preview_steps=2)
    estimated = estimate(config, inspect(config))
    whole = train(config)
    assert estimated.steps == whole.steps == 9 and whole.previews
    half = shop.make_config(data, checkpoint, tmp_path / "half", **values)
    stopped_at(half, 4)
    assert same_tensors(train(half, resume=True).lora, whole.lora)
    with safe_open(whole.lora, "pt") as opened:
        metadata = opened.metadata()
    assert (metadata["ss_base_model_version"], metadata["modelspec.architecture"]) == ("chroma", "chroma/lora")
    ups = [tensor for name, tensor in load_file(whole.lora).items() if name.endswith("lora_up.weight")]
    assert max(tensor.abs().max() for tensor in ups) > 1e-3


@torch.no_grad()
def test_diffusers_reads_model_and_lora_with_the_same_effect(tmp_path):
    """At the real width, which diffusers takes for granted where it splits joined layers."""
    transformer = ChromaTransformer2DModel(
        num_layers=1, num_single_layers=1, joint_attention_dim=flux.CONTEXT, approximator_hidden_dim=64,
        approximator_layers=1,
    )  # fmt: skip
    models.fill(transformer, torch.Generator().manual_seed(1))
    kind, state, family = Chroma(), transformer.state_dict(), by_name("chroma")
    settings = kind.folder_config(transformer.config)
    original = take_all(kind.folder_sources(list(state), settings), state)
    converted = convert_chroma_transformer_checkpoint_to_diffusers(dict(original))
    assert converted.keys() == state.keys() and all(torch.equal(converted[name], state[name]) for name in state)
    with torch.device("meta"):
        ours = kind.build(settings)
    ours.load_state_dict(original, assign=True)
    ours.requires_grad_(False)
    adapter = Adapter(select(list(kind.targets(ours, family)), "full", False), 4, 2.0)
    adapter.weights.copy_(0.05 * noise(adapter.weights.numel()))
    adapter.refresh()
    noisy, timesteps, context = noise(1, 16, 4, 4), torch.tensor([0.5]), noise(1, 20, flux.CONTEXT)

    def own():
        return kind.predict(ours, noisy, timesteps, Conditioning(context), 1.0)

    plain = predict(transformer, noisy, timesteps, context)
    torch.testing.assert_close(own(), plain, rtol=1e-3, atol=1e-3)
    with attached(adapter, kind.targets(ours, family), kind.blocks(ours), gradient_checkpointing=False):
        with_lora = own()
    file.save(tmp_path / "lora.safetensors", adapter.layers(), torch.float32, {})
    lora, alphas = ChromaPipeline.lora_state_dict(tmp_path / "lora.safetensors", return_alphas=True)
    ChromaPipeline.load_lora_into_transformer(lora, alphas, transformer)
    assert (with_lora - plain).abs().max() > 0.1
    torch.testing.assert_close(with_lora, predict(transformer, noisy, timesteps, context), rtol=1e-3, atol=2e-3)
