"""NaN and infinity in a base model or a LoRA: errors name the damaged part, or the precision that is too small."""

import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_scripts_ext import finite
from lora_scripts_ext.adapters import file
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.contract import Conditioning
from lora_scripts_ext.dataset import source
from lora_scripts_ext.dataset.store import Store
from lora_scripts_ext.errors import TrainingError, UserError
from lora_scripts_ext.hosts.standalone.host import StandaloneHost

from . import models, shop

NAMES = {
    "UNet": "model.diffusion_model.middle_block.0.in_layers.2.weight",
    "VAE": "first_stage_model.decoder.conv_in.weight",
    "text encoder 1": "cond_stage_model.transformer.text_model.encoder.layers.1.mlp.fc1.weight",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return shop.write_images(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def state():
    return models.original_state("sd1")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return models.write_checkpoint(tmp_path_factory.mktemp("model") / "tiny.safetensors", "sd1")


def opened(data, model, tmp_path, **keys):
    return StandaloneHost().open(shop.make_config(data, model, tmp_path / "out", **keys))


def refusal(data, model, tmp_path, **keys):
    with pytest.raises(UserError) as caught, opened(data, model, tmp_path, **keys):
        pass
    return str(caught.value)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor([1.0, -3.0, 2.0]),
        torch.tensor([[1.0, -3.0]], dtype=torch.bfloat16),
        torch.tensor([-3.0], dtype=torch.float8_e4m3fn),
        torch.tensor([-3, 2]),
    ],
)
def test_the_largest_value(tensor):
    assert finite.largest(tensor) == 3


def test_the_largest_value_of_what_is_not_finite():
    assert math.isnan(finite.largest(torch.tensor([1.0, math.nan, math.inf])))
    assert finite.largest(torch.tensor([1.0, -math.inf])) == math.inf
    assert finite.largest(torch.empty(0)) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("part", NAMES)
def test_a_damaged_base_model_is_named_when_it_is_read(data, state, tmp_path, part, value):
    broken = {name: tensor.clone() for name, tensor in state.items()}
    broken[NAMES[part]].view(-1)[5] = value
    second = NAMES[part].replace("weight", "bias")
    broken[second][0] = value
    save_file(broken, tmp_path / "broken.safetensors")
    message = refusal(data, tmp_path / "broken.safetensors", tmp_path)
    assert "broken.safetensors: 2 of the" in message and f"tensors of the {part} hold NaN or infinity" in message
    assert second in message or NAMES[part] in message
    assert "the file is damaged" in message and "mixed_precision" not in message


def test_a_damaged_diffusers_folder_is_named(data, tmp_path):
    folder = models.write_diffusers_folder(tmp_path / "model", "sd1")
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["encoder.conv_in.weight"][0] = math.nan
    save_file(tensors, path, {"format": "pt"})
    message = refusal(data, folder, tmp_path)
    assert "1 of the" in message and "tensors of the VAE" in message and str(path) in message


def test_weights_that_fp16_cannot_hold(data, state, tmp_path):
    large = {name: tensor.clone() for name, tensor in state.items()}
    large[NAMES["UNet"]].view(-1)[0] = 70000.0
    save_file(large, tmp_path / "large.safetensors")
    message = refusal(data, tmp_path / "large.safetensors", tmp_path, mixed_precision="fp16")
    assert "fp16 cannot hold" in message and "7e+04" in message and "set mixed_precision: bf16 or fp32" in message
    with opened(data, tmp_path / "large.safetensors", tmp_path, mixed_precision="bf16"):
        pass
    large[NAMES["UNet"]].view(-1)[0] = 65504.0
    save_file(large, tmp_path / "large.safetensors")
    with opened(data, tmp_path / "large.safetensors", tmp_path, mixed_precision="fp16"):
        pass


@pytest.mark.parametrize(
    ("precision", "value", "sentence"),
    [
        ("fp32", math.nan, r"in the UNet of tiny 1 of \d+ tensors hold NaN .* conv_in.weight; the file is damaged"),
        ("fp16", math.nan, r"conv_in.weight; the file is damaged"),
        ("fp16", math.inf, r"exceed the range of fp16 \(set mixed_precision: bf16 or fp32\), or the file is damaged"),
        ("fp16", None, r"values in tiny exceed the range of fp16; set mixed_precision: bf16 or fp32"),
        ("bf16", None, r"in bfloat16 and with finite weights: values in tiny overflow in any precision"),
        ("fp32", None, r"in float32 and with finite weights: values in tiny overflow in any precision"),
    ],
)
def test_why_a_loaded_model_gives_nan(data, checkpoint, tmp_path, precision, value, sentence):
    """As in a WebUI, whose model was not read here."""
    with opened(data, checkpoint, tmp_path, mixed_precision=precision) as session:
        if value is not None:
            session.parts()["UNet"].conv_in.weight.data.view(-1)[0] = value
        message = finite.explain(session, "The first loss is NaN")
    assert message.startswith("The first loss is NaN")
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError(message)


def built(config, session):
    dataset = source.read(config, (32, 32), session.model.vae_factor)
    return Store.build(dataset, session, config, progress=lambda *_: None, check=lambda: None, budget_bytes=2**30)


def test_embeddings_that_are_not_finite_stop_the_run_and_are_not_cached(data, checkpoint, tmp_path, monkeypatch):
    config = shop.make_config(data, checkpoint, tmp_path / "out")
    with StandaloneHost().open(config) as session:
        good = session.encode_text
        bad = lambda captions: Conditioning(good(captions).context * math.nan)  # noqa: E731
        monkeypatch.setattr(session, "encode_text", bad)
        with pytest.raises(UserError, match=r"text encoder gives NaN for the caption .*finite weights"):
            built(config, session)
        assert not list((config.cache_path / "text").glob("*"))
        monkeypatch.setattr(session, "encode_text", good)
        clean = built(config, session)
        # What an older version may have cached is encoded again.
        for path in (config.cache_path / "text").iterdir():
            save_file({name: tensor * math.nan for name, tensor in load_file(path).items()}, path)
        again = built(config, session)
        assert clean.content_hash == again.content_hash
        assert all(math.isfinite(finite.largest(load_file(p)["context"])) for p in config.cache_path.glob("text/*"))


def test_latents_that_are_not_finite_stop_the_run(data, checkpoint, tmp_path):
    """The VAE computes in float32 whatever the UNet does: no advice to change the precision."""
    config = shop.make_config(data, checkpoint, tmp_path / "out", mixed_precision="fp16")
    with StandaloneHost().open(config) as session:
        weight = session.parts()["VAE"].encoder.conv_in.weight
        weight.data.fill_(1e38)
        with pytest.raises(UserError, match=r"png: the VAE .* in float32 and with finite weights"):
            built(config, session)
        weight.data.fill_(math.nan)
        with pytest.raises(UserError, match=r"in the VAE of tiny .* the file is damaged"):
            built(config, session)
    assert not list((config.cache_path / "latents").glob("*"))


@pytest.fixture
def adapter(data, checkpoint, tmp_path):
    with opened(data, checkpoint, tmp_path) as session:
        return Adapter(select(session.targets(), "attention", False), 4)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_lora_that_is_not_finite_is_never_written(tmp_path, adapter, value):
    adapter.weights.data[-1] = value
    with pytest.raises(TrainingError, match=r"a\.safetensors: not written.*diverged, lower learning_rate"):
        file.save(tmp_path / "a.safetensors", adapter.layers(), torch.float32, {})
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_lora_too_large_for_fp16_is_written_in_another_format(tmp_path, adapter):
    adapter.weights.data[-1] = 1e5
    with pytest.raises(
        TrainingError, match=r"too large .* \(up to 1e\+05 in lora_unet_.*\); set save_precision: fp32 or"
    ):
        file.save(tmp_path / "a.safetensors", adapter.layers(), torch.float16, {})
    assert not list(tmp_path.glob("*.safetensors"))
    file.save(tmp_path / "a.safetensors", adapter.layers(), torch.bfloat16, {})
    assert max(finite.largest(tensor) for tensor in load_file(tmp_path / "a.safetensors").values()) == 99840
