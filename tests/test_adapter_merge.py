"""LoRAs added up and brought to other ranks: against PEFT's results, kohya's formulas, and what files say."""

import copy
import hashlib
import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lora_scripts_ext.adapters import file
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.merge import MADE_FROM, merge, resize
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.models.targets import unet_targets

from .test_adapter_maths import all_targets, fresh_parts, randomised, unet_inputs

WEIGHTS = (0.7, -0.5)
SIZES = ((3, 2.0), (5, 4.0))


def lora(path, family="sd1", rank=3, alpha=2.0, seed=0, target_set="full", dtype=torch.float32, metadata=None):
    """A file with random weights; text encoders are in it."""
    adapter = randomised(Adapter(select(all_targets(fresh_parts(family), family), target_set, True), rank, alpha), seed)
    file.save(path, adapter.layers(), dtype, metadata or {})
    return path


def effect(layer):
    """The change of the frozen weight, [outputs, inputs · kernel], as kohya's scripts form it."""
    return layer.alpha / layer.rank * layer.up.double().flatten(1) @ layer.down.double().flatten(1)


def effects(path):
    return {key: effect(layer) for key, layer in file.read(Path(path)).layers.items()}


def weighted_sum(paths, weights=WEIGHTS):
    total = {}
    for path, weight in zip(paths, weights, strict=True):
        for key, one in effects(path).items():
            total[key] = total.get(key, 0) + weight * one
    return total


def nearest(matrix, rank):
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    return u[:, :rank] * values[:rank] @ v[:rank]


@pytest.fixture
def two(tmp_path):
    return [
        lora(tmp_path / f"{seed}.safetensors", rank=rank, alpha=alpha, seed=seed)
        for seed, (rank, alpha) in enumerate(SIZES)
    ]


def test_the_exact_merge_is_the_weighted_sum(two, tmp_path):
    made = merge(list(zip(two, WEIGHTS, strict=True)), tmp_path / "out.safetensors")
    expected, actual = weighted_sum(two), effects(tmp_path / "out.safetensors")
    assert expected.keys() == actual.keys() and any("conv1" in key for key in actual)
    for key, matrix in expected.items():
        torch.testing.assert_close(actual[key], matrix, rtol=1e-5, atol=1e-7)
    assert (made.ranks, made.precision, made.layers) == ((8, 8), "fp32", len(expected))
    assert made.error < 1e-6 and made.worst_error < 1e-6


def test_svd_is_the_nearest_of_its_rank_and_says_how_near(two, tmp_path):
    made = merge(list(zip(two, WEIGHTS, strict=True)), tmp_path / "out.safetensors", rank=4)
    expected, actual = weighted_sum(two), effects(tmp_path / "out.safetensors")
    for key, matrix in expected.items():
        torch.testing.assert_close(actual[key], nearest(matrix, 4), rtol=1e-4, atol=1e-6)
    lost = sum(float((matrix - actual[key]).square().sum()) for key, matrix in expected.items())
    norm = sum(float(matrix.square().sum()) for matrix in expected.values())
    assert made.error == pytest.approx((lost / norm) ** 0.5, rel=1e-4)
    worst = expected[made.worst_layer]
    assert made.worst_error == pytest.approx(float((worst - actual[made.worst_layer]).norm() / worst.norm()), rel=1e-4)
    assert made.worst_error == pytest.approx(
        max(float((matrix - actual[key]).norm() / matrix.norm()) for key, matrix in expected.items()), rel=1e-4
    )


@pytest.mark.parametrize(("kind", "rank"), [("cat", None), ("svd", 4)])
def test_peft_merges_to_the_same_output(tmp_path, kind, rank):
    unet = fresh_parts("sd1").unet
    targets = select(unet_targets(unet, "sd1"), "full", False)
    paths = [target.path for target in targets]
    twin, files = copy.deepcopy(unet), []
    for name, (size, alpha) in zip("ab", SIZES, strict=True):
        # With "svd", PEFT 0.18 multiplies by alpha / rank twice.
        alpha = float(size) if kind == "svd" else alpha
        config = LoraConfig(r=size, lora_alpha=alpha, target_modules=paths)
        if name == "a":
            twin = get_peft_model(twin, config, adapter_name=name)
        else:
            twin.add_adapter(name, config)
        adapter = randomised(Adapter(targets, size, alpha), seed=size)
        layers = adapter.layers()
        with torch.no_grad():
            for target in targets:
                layer = twin.get_submodule(f"base_model.model.{target.path}")
                layer.lora_A[name].weight.copy_(layers[target.key].down)
                layer.lora_B[name].weight.copy_(layers[target.key].up)
        files.append(tmp_path / f"{name}.safetensors")
        file.save(files[-1], layers, torch.float32, {})
    twin.base_model.add_weighted_adapter(["a", "b"], list(WEIGHTS), "sum", combination_type=kind, svd_rank=rank)
    twin.base_model.set_adapter("sum")
    merge(list(zip(files, WEIGHTS, strict=True)), tmp_path / "out.safetensors", rank=rank)
    weights = file.read(tmp_path / "out.safetensors")
    adapter = Adapter(targets, max(layer.rank for layer in weights.layers.values()))
    adapter.load(weights)
    with torch.no_grad():
        base = unet(*unet_inputs()).sample
        expected = twin(*unet_inputs()).sample
        with adapter.attached():
            actual = unet(*unet_inputs()).sample
    assert (expected - base).abs().max() > 0.01
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_resizing_keeps_the_metadata_and_the_nearest_effect(tmp_path):
    old = lora(
        tmp_path / "old.safetensors", rank=6, metadata={"ss_seed": "42", "ss_network_dim": "6", "modelspec.title": "x"}
    )
    before = hashlib.sha256(old.read_bytes()).hexdigest()
    made = resize(old, tmp_path / "new.safetensors", 2)
    assert hashlib.sha256(old.read_bytes()).hexdigest() == before
    for key, matrix in effects(old).items():
        torch.testing.assert_close(effects(tmp_path / "new.safetensors")[key], nearest(matrix, 2), rtol=1e-4, atol=1e-6)
    assert made.ranks == (2, 2) and 0 < made.error < 1
    with safe_open(tmp_path / "new.safetensors", "pt") as new:
        metadata = new.metadata()
    assert (metadata["ss_seed"], metadata["ss_network_dim"], metadata["modelspec.title"]) == ("42", "2", "new")
    assert json.loads(metadata[MADE_FROM])["rank"] == 2
    content = (tmp_path / "new.safetensors").read_bytes()
    data = content[8 + int.from_bytes(content[:8], "little") :]
    assert metadata["sshs_model_hash"] == hashlib.sha256(data).hexdigest()
    # A larger rank than it has: nothing is lost, nothing is added.
    again = resize(old, tmp_path / "same.safetensors", 64)
    assert again.ranks == (6, 6) and again.error < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_precision_of_the_files_is_kept_and_its_rounding_is_part_of_the_error(tmp_path, dtype):
    files = [(lora(tmp_path / f"{seed}.safetensors", seed=seed, dtype=dtype), 0.3) for seed in range(2)]
    made = merge(files, tmp_path / "out.safetensors")
    tensors = load_file(tmp_path / "out.safetensors")
    assert {tensor.dtype for name, tensor in tensors.items() if "alpha" not in name} == {dtype}
    assert 0 < made.error < torch.finfo(dtype).eps
    mixed = [files[0], (lora(tmp_path / "32.safetensors"), 1.0)]
    assert merge(mixed, tmp_path / "mixed.safetensors").precision == "fp32"
    assert merge(mixed, tmp_path / "half.safetensors", precision="fp16").precision == "fp16"


def diffusers_named(path, out, family):
    """The file's UNet layers as diffusers names them, without alpha."""
    targets = {target.key: target.path for target in all_targets(fresh_parts(family), family) if target.part == "unet"}
    tensors = {}
    for key, layer in file.read(path).layers.items():
        if key in targets:
            tensors[f"unet.{targets[key]}.lora_A.weight"] = layer.down
            tensors[f"unet.{targets[key]}.lora_B.weight"] = layer.up * (layer.alpha / layer.rank)
    save_file(tensors, out)
    return out


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_files_of_several_programs_are_merged_under_kohya_s_names(tmp_path, family):
    first = lora(tmp_path / "a.safetensors", family, seed=1)
    second = lora(tmp_path / "b.safetensors", family, seed=2)
    theirs = diffusers_named(second, tmp_path / "c.safetensors", family)
    merge([(first, 1.0), (theirs, 0.5)], tmp_path / "out.safetensors")
    expected = weighted_sum([first, second], (1.0, 0.5))
    actual = effects(tmp_path / "out.safetensors")
    assert actual.keys() == expected.keys()
    for key, matrix in actual.items():
        whole = expected[key] if key.startswith("lora_unet") else effects(first)[key]
        torch.testing.assert_close(matrix, whole, rtol=1e-5, atol=1e-6)


def test_layers_that_only_one_file_has_are_taken_from_it(tmp_path):
    first = lora(tmp_path / "a.safetensors", target_set="attention")
    second = lora(tmp_path / "b.safetensors", seed=1)
    made = merge([(first, 1.0), (second, 1.0)], tmp_path / "out.safetensors")
    assert made.ranks == (3, 6) and effects(tmp_path / "out.safetensors").keys() == effects(second).keys()
    with safe_open(tmp_path / "out.safetensors", "pt") as out:
        assert out.metadata()["ss_network_dim"] == "Dynamic"


def test_what_does_not_fit_together_is_refused_and_nothing_is_written(tmp_path):
    first, other = lora(tmp_path / "a.safetensors"), lora(tmp_path / "b.safetensors", "sdxl")
    wide = {
        name: torch.cat([tensor, tensor], dim=1) if "lora_down" in name else tensor
        for name, tensor in load_file(first).items()
    }
    save_file(wide, tmp_path / "wide.safetensors")
    for loras, says in (
        ([(first, 1.0), (tmp_path / "wide.safetensors", 1.0)], "one kind of base model"),
        ([(first, 0.0)], "other than 0"),
        ([(first, float("nan"))], "other than 0"),
        ([(tmp_path / "no.safetensors", 1.0)], "no such"),
        ([], "at least one"),
    ):
        with pytest.raises(UserError, match=says):
            merge(loras, tmp_path / "out.safetensors")
    with pytest.raises(UserError, match="nothing is overwritten"):
        merge([(first, 1.0)], other)
    with pytest.raises(UserError, match="rank is 0"):
        resize(first, tmp_path / "out.safetensors", 0)
    with pytest.raises(UserError, match="precision"):
        resize(first, tmp_path / "out.safetensors", 2, precision="int8")
    with pytest.raises(UserError, match="safetensors"):
        resize(first, tmp_path / "out.pt", 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.safetensors", "b.safetensors", "wide.safetensors",
    ]  # fmt: skip


def test_weights_that_half_precision_cannot_hold_are_refused(tmp_path):
    first = lora(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="choose fp32"):
        merge([(first, 1e12)], tmp_path / "out.safetensors", precision="fp16")
    assert not (tmp_path / "out.safetensors").exists()
