"""Flux inside a real Forge and Neo, found through ``WEBUI_FORGE`` and ``WEBUI_NEO``, on a reduced checkpoint."""

import json
import math
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel
from safetensors.torch import load_file
from torch import Tensor

from lora_scripts_ext.models.vae import vae_sources
from lora_scripts_ext.models.weights import take_all
from tests import shop

from . import flux, quantised
from .kinds import assert_restored, inside, marked
from .test_host import assert_same_as_standalone

DRIVER, MATRIX = "flux_forge.py", "inside.py"
WEBUIS = ("forge", "neo")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return shop.write_images(tmp_path_factory.mktemp("data"), count=4, side=64)


@pytest.mark.parametrize(("kind", "variant"), [marked(k, variant) for k in WEBUIS for variant in ("dev", "schnell")])
def test_the_model_is_restored_bit_for_bit_and_previews_are_what_txt2img_generates(kind, variant, data, tmp_path):
    model = flux.write(tmp_path / "model", variant)
    report = inside(kind, "matrix", model, tmp_path / "out", data, driver=MATRIX)
    assert_restored(report)
    assert report["changed on the bare model"] == []
    assert report["preview of the base"] == report["base"]
    assert report["preview"] == report["txt2img"] != report["base"]
    assert report["estimate"]["changed"] == []
    assert report["estimate"]["activation_bytes"] == pytest.approx(report["estimate"]["saved_bytes"], rel=0.1)
    with_metadata = _metadata(Path(report["lora"]))
    assert with_metadata["modelspec.architecture"] == f"flux-1-{variant}/lora"
    assert with_metadata["ss_base_model_version"] == "flux1"


@pytest.mark.parametrize("kind", [marked(k) for k in WEBUIS])
def test_predictions_of_the_webui_diffusers_and_the_session_agree_with_and_without_the_lora(kind, data, tmp_path):
    model = flux.write(tmp_path / "model", sizes=flux.WIDE)
    report = inside(kind, "compare", model, tmp_path / "out", data, driver=DRIVER)
    assert report["context"] == report["pooled"] == 0
    assert report["flow"] < 1e-5
    saved, tensors = load_file(report["tensors"]), load_file(model)
    vae = AutoencoderKL.from_config(flux.VAE)
    state = _below(tensors, "vae.")
    vae.load_state_dict(take_all(vae_sources(state, flux.VAE), state))
    with torch.no_grad():
        latents = (vae.encode(saved["pixels"]).latent_dist.mean - flux.VAE_SHIFT) * flux.VAE_SCALE
    torch.testing.assert_close(latents, saved["latents"], rtol=1e-3, atol=1e-3)
    transformer = _diffusers(_below(tensors, flux.TRANSFORMER), flux.WIDE)
    del tensors
    assert _error(_flow(transformer, saved), saved["bare"]) < 1e-5
    state, alphas = FluxPipeline.lora_state_dict(report["lora"], return_alphas=True)
    FluxPipeline.load_lora_into_transformer(state, alphas, transformer)
    effect = _flow(transformer, saved) - saved["bare"]
    assert _error(saved["changed"], saved["bare"]) > 0.01, "the LoRA does nothing"
    assert _error(effect, saved["changed"] - saved["bare"]) < 1e-4


@pytest.mark.parametrize(
    ("kind", "stored", "setting"),
    [
        marked(k, *values)
        for k in WEBUIS
        for values in (
            ("bfloat16", "Automatic"),
            ("float8_e4m3fn", "Automatic"),
            ("float8_e5m2", "float8-e5m2"),
        )
    ],
)
def test_weights_in_few_bits_are_trained_on_and_stay_as_they_are(kind, stored, setting, data, tmp_path):
    stored_dtype = torch.bfloat16 if setting != "Automatic" else getattr(torch, stored)
    model = flux.write(tmp_path / "model", dtype=stored_dtype)
    _choose(tmp_path / "out", forge_unet_storage_dtype=setting)
    report = inside(kind, "low_bits", model, tmp_path / "out", data, driver=DRIVER)
    # A CPU computes in float32, and Forge keeps bf16 files as it computes.
    assert report["stored"] == ("torch.float32" if stored == "bfloat16" else f"torch.{stored}")
    assert report["changed"] == []
    assert report["txt2img"] != report["base"]
    assert report["base after"] == report["base"]
    assert math.isfinite(report["loss"])


@pytest.mark.parametrize("kind", [marked("neo")])
def test_a_text_encoder_in_scaled_fp8_is_used_as_it_is(kind, data, tmp_path):
    model = flux.write(tmp_path / "model")
    quantised.quantise(model, block=".DenseReluDense.")
    report = inside(kind, "low_bits", model, tmp_path / "out", data, driver=DRIVER)
    assert report["changed"] == []
    assert report["txt2img"] != report["base"]
    assert report["base after"] == report["base"]
    assert math.isfinite(report["loss"])


@pytest.mark.parametrize("kind", [marked("neo")])
def test_an_image_that_the_last_img2img_gave_to_look_at_does_not_count(kind, data, tmp_path):
    report = inside(kind, "references", flux.write(tmp_path / "model"), tmp_path / "out", data, driver=DRIVER)
    assert report["inside"] == 0
    assert report["outside"] > 0.01, "the reference does nothing"
    assert report["estimated"] == [1, 16, 8, 8]


@pytest.mark.parametrize("kind", [marked(k) for k in WEBUIS])
def test_quantised_weights_are_refused_with_what_to_take_instead(kind, data, tmp_path):
    model, others = flux.write_gguf(tmp_path / "model")
    _choose(tmp_path / "out", forge_additional_modules=[str(path) for path in others])
    report = inside(kind, "refused", model, tmp_path / "out", data, driver=DRIVER)
    assert "a version of it" in report["error"]
    assert "fp16, bf16 or fp8" in report["error"]
    assert report["changed"] == []


@pytest.mark.parametrize("kind", [marked(k) for k in WEBUIS])
def test_the_same_weights_as_standalone(kind, data, tmp_path):
    model = flux.write(tmp_path / "model", dtype=torch.float32)
    values = shop.settings(
        data, model, tmp_path / "inside", resolution=64, save_precision="fp32", max_steps=3, lora_dropout=0.1,
        optimizer_args={"eps": 1e-4},
    )  # fmt: skip
    runs_file = tmp_path / "runs.json"
    runs_file.write_text(json.dumps([values]))
    lora = inside(kind, "train", model, tmp_path / "out", runs_file, driver=MATRIX)["loras"][0]
    assert_same_as_standalone(load_file(lora["path"]), values)


@pytest.mark.parametrize("kind", [marked(k) for k in WEBUIS])
def test_flux_text_encoders_stay_frozen(kind, data, tmp_path):
    model = flux.write(tmp_path / "model")
    report = inside(kind, "refused_text_encoder", model, tmp_path / "out", data, driver=DRIVER)
    assert "train_text_encoder is on; Flux's text encoders stay as they are" in report["error"]
    assert report["changed"] == []


def _choose(out: Path, **options: object) -> None:
    settings = out / "webui" / "config.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(options))


def _metadata(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        return json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor.float() for name, tensor in tensors.items() if name.startswith(prefix)}


def _error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def _flow(transformer: FluxTransformer2DModel, inputs: dict[str, Tensor]) -> Tensor:
    noisy = inputs["noisy"]
    _, channels, height, width = noisy.shape
    patches = FluxPipeline._pack_latents(noisy, 1, channels, height, width)
    image_ids = FluxPipeline._prepare_latent_image_ids(1, height // 2, width // 2, noisy.device, noisy.dtype)
    with torch.no_grad():
        prediction = transformer(
            patches,
            encoder_hidden_states=inputs["context"],
            pooled_projections=inputs["pooled"],
            timestep=inputs["timestep"],
            img_ids=image_ids,
            txt_ids=torch.zeros(inputs["context"].shape[1], 3),
            guidance=torch.ones(1),
            return_dict=False,
        )[0]
    # Eight pixels a latent cell, by which the pipeline measures.
    return FluxPipeline._unpack_latents(prediction, height * 8, width * 8, 8)


def _diffusers(state: dict[str, Tensor], sizes: dict[str, int]) -> FluxTransformer2DModel:
    """diffusers' Flux with the weights of one in the original layout."""
    model = FluxTransformer2DModel(
        num_layers=sizes["depth"],
        num_single_layers=sizes["depth_single_blocks"],
        num_attention_heads=sizes["num_heads"],
        joint_attention_dim=sizes["context_in_dim"],
        guidance_embeds=True,
    )
    translated = {}
    for name, tensor in state.items():
        translated |= _translated(name, tensor, sizes["hidden_size"])
    model.load_state_dict(translated)
    return model


_OUTSIDE_BLOCKS = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
_IN_BLOCK = {
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
    "linear2": "proj_out",
    "modulation.lin": "norm.linear",
    "norm.query_norm": "attn.norm_q",
    "norm.key_norm": "attn.norm_k",
}
_JOINED = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
}


def _translated(name: str, tensor: Tensor, width: int) -> dict[str, Tensor]:
    path, _, leaf = name.rpartition(".")
    leaf = "weight" if leaf == "scale" else leaf
    if path == "final_layer.adaLN_modulation.1":
        # The original has shift first, diffusers scale.
        shift, scale = tensor.chunk(2)
        return {f"norm_out.linear.{leaf}": torch.cat([scale, shift])}
    if path in _OUTSIDE_BLOCKS:
        return {f"{_OUTSIDE_BLOCKS[path]}.{leaf}": tensor}
    kind, number, rest = path.split(".", 2)
    head = f"{'transformer_blocks' if kind == 'double_blocks' else 'single_transformer_blocks'}.{number}"
    if rest in _IN_BLOCK:
        return {f"{head}.{_IN_BLOCK[rest]}.{leaf}": tensor}
    pieces = tensor.split([width] * 3 + ([len(tensor) - 3 * width] if len(_JOINED[rest]) == 4 else []))
    return {f"{head}.{part}.{leaf}": piece for part, piece in zip(_JOINED[rest], pieces, strict=True)}
