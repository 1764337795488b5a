"""Training inside real WebUIs, found through ``WEBUI_A1111``, ``WEBUI_FORGE`` and ``WEBUI_NEO``, with small checkpoints
made here."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_scripts_ext import config as configs
from lora_scripts_ext.captioning.blip import without_opening
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.training import run
from tests import shop

from . import checkpoints, flux, quantised
from .kinds import FAMILIES, assert_restored, checkpoint, imports, inside, marked, root

BURDENED, LIMITS = "burdened_a1111.py", "limits_forge.py"
INSTEAD = ", through which no gradient goes; load a version of it in fp16, bf16 or fp8 without scales"
COMFY = ("float8_e4m3fn", "scaled_fp8", "int8_tensorwise", "nvfp4", "mxfp8")
#: settings of the WebUI, by what they make of a model
CHOICES = {
    "fp8": {"fp8_storage": "Enable"},
    "bnb": {"forge_unet_storage_dtype": "bnb-nf4"},
    "fast_fp8": {"forge_unet_storage_dtype": "float8-e4m3fn"},
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((kind, family), marks=marked(kind).marks, id=f"{kind}-{family}")
        for kind, families in FAMILIES.items()
        for family in families
    ],
)
def webui_and_family(request):
    """The WebUI and the family of its model."""
    return request.param


@pytest.fixture(scope="module")
def matrix(webui_and_family, tmp_path_factory):
    kind, family = webui_and_family
    folder = tmp_path_factory.mktemp(f"{kind}_{family}")
    data = shop.write_images(folder / "data", count=4, side=64)
    return inside(kind, "matrix", checkpoint(kind, folder / "model", family), folder / "out", data)


def test_the_model_is_restored_bit_for_bit_however_a_run_ends(matrix):
    ways = matrix["ways"]
    assert ways["done"]["ended"] == "done"
    assert ways["stopped"]["ended"] == "stopped"
    assert len(ways) >= 13
    assert matrix["changed on the bare model"] == []
    for way, outcome in ways.items():
        assert way in ("done", "stopped") or outcome["ended"] == f"failed: {way}"
        assert outcome["changed"] == [], way
        assert outcome["image"], way
        assert outcome["image with LoRA"], way


@pytest.mark.parametrize(
    ("kind", "mode", "setting"),
    [marked(kind, "bare", "Automatic") for kind in ("forge", "neo")]
    # Forge does that only where the weights are kept in fewer bits.
    + [marked("forge", "matrix", "float8-e4m3fn (fp16 LoRA)"), marked("neo", "matrix", "Automatic (fp16 LoRA)")],
)
def test_the_same_where_no_lora_is_in_the_weights_or_they_act_on_the_fly(kind, mode, setting, tmp_path):
    data = shop.write_images(tmp_path / "data", count=4, side=64)
    settings = tmp_path / "out" / "webui" / "config.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"forge_unet_storage_dtype": setting}))
    report = inside(kind, mode, checkpoint(kind, tmp_path / "model", "sd1"), tmp_path / "out", data)
    assert (report["on the fly"] > 0) == (mode == "matrix")
    assert_restored(report)
    assert report["preview"] == report["txt2img"] != report["base"]


def test_a_preview_is_the_image_that_the_saved_file_gives(matrix):
    assert matrix["preview of the base"] == matrix["base"]
    assert matrix["preview"] == matrix["txt2img"]
    assert matrix["txt2img"] != matrix["base"], "the LoRA does nothing"
    assert Path(matrix["lora"]).parent.name == "Lora"


def test_a_run_is_estimated_without_touching_the_model(matrix):
    estimate = matrix["estimate"]
    assert estimate["changed"] == []
    assert estimate["steps"] == 3
    assert estimate["activation_bytes"] == pytest.approx(estimate["saved_bytes"], rel=0.1)


def test_the_same_weights_as_standalone_and_the_same_effect_when_the_webui_merges_them(webui_and_family, tmp_path):
    kind, family = webui_and_family
    data = shop.write_images(tmp_path / "data", side=64)
    model = checkpoint(kind, tmp_path / "model", family)
    changes = [
        # AdamW's large eps makes a step proportional to its gradient. Else layers without any effect would be compared,
        # too: the tiny SDXL has one channel to a norm group, so its time embeddings get nothing but rounding errors.
        {"target": "full", "gradient_checkpointing": True, "min_snr_gamma": 5, "optimizer_args": {"eps": 1.0}}
        | {"learning_rate": 10.0, "max_grad_norm": 0},
        # Some gradients of the tiny SDXL are as small as AdamW's own eps: there rounding decides a step's direction.
        {"train_text_encoder": True, "clip_skip": 2 if family == "sd1" else 1}
        | ({"optimizer_args": {"eps": 1e-6}} if family == "sdxl" else {}),
    ]
    runs = [
        shop.settings(
            data, model, tmp_path / f"inside{index}", resolution=64, save_precision="fp32", epochs=1, **change
        )
        for index, change in enumerate(changes)
    ]
    runs_file = tmp_path / "runs.json"
    runs_file.write_text(json.dumps(runs))
    loras = inside(kind, "train", model, tmp_path / "out", runs_file)["loras"]
    for lora, values in zip(loras, runs, strict=True):
        tensors = load_file(lora["path"])
        assert lora["layers"] == len([key for key in tensors if key.endswith(".alpha")]), "the WebUI leaves layers out"
        assert lora["effect"] > 1e-3
        # Forge keeps text encoders in fp16, and rounds what it merges to that.
        assert lora["error"] <= (1e-3 if lora["exact"] else 0.1)
        assert_same_as_standalone(tensors, values)


@pytest.mark.parametrize("kind", [marked("a1111"), marked("forge"), marked("neo")])
def test_the_same_weights_as_standalone_on_a_model_of_real_size(kind, tmp_path):
    data = shop.write_images(tmp_path / "data", count=2, side=128)
    model = checkpoints.write_full(tmp_path / "model", root(kind), kind)
    values = shop.settings(
        data, model, tmp_path / "inside", resolution=128, save_precision="fp32", max_steps=2, lora_alpha=4,
        optimizer_args={"eps": 1e-4},
    )  # fmt: skip
    runs_file = tmp_path / "runs.json"
    runs_file.write_text(json.dumps([values]))
    lora = inside(kind, "train", model, tmp_path / "out", runs_file)["loras"][0]
    tensors = load_file(lora["path"])
    assert lora["layers"] == len([key for key in tensors if key.endswith(".alpha")]) == 192
    assert lora["error"] <= 1e-3
    assert_same_as_standalone(tensors, values)


def assert_same_as_standalone(inside_tensors, values):
    standalone = {**values, "output_dir": values["output_dir"].replace("inside", "standalone")}
    standalone_tensors = load_file(run.train(configs.from_dict(standalone), StandaloneHost()).lora)
    assert inside_tensors.keys() == standalone_tensors.keys()
    for part in ("lora_up", "lora_down"):
        ours, theirs = (
            torch.cat([tensors[key].flatten() for key in sorted(tensors) if part in key])
            for tensors in (inside_tensors, standalone_tensors)
        )
        assert (ours - theirs).norm() <= 1e-4 * theirs.norm(), part


@pytest.mark.parametrize(
    ("kind", "family", "flags"),
    [
        marked("a1111", family, flags)
        for family, flags in (("sd1", []), ("sd1", ["--medvram"]), ("sd2", ["--medvram"]), ("sdxl", ["--medvram"]))
    ],
)
def test_what_the_last_prompt_and_the_settings_put_on_the_model_is_not_trained_on(kind, family, flags, tmp_path):
    data = shop.write_images(tmp_path / "data", count=4, side=64)
    model = checkpoint(kind, tmp_path / "model", family)
    report = inside(kind, "burdened", model, tmp_path / "out", data, *flags, driver=BURDENED)
    assert report["active"] == {
        "loras": ["plain"],
        "hypernetworks": ["hyper"],
        "tiled": True,
        "wraps": True,
    }
    assert report["image"] != report["bare image"]
    plain, burdened = (load_file(path) for path in report["loras"])
    assert plain.keys() == burdened.keys()
    assert all(torch.equal(plain[key], burdened[key]) for key in plain)
    assert report["changed"] == []
    assert report["image after"] == report["image"]
    assert report["bare image after"] == report["bare image"]


@pytest.mark.parametrize(
    ("kind", "what", "flags", "sentence"),
    [
        marked("a1111", "lowvram", ["--lowvram"], "start the WebUI with --medvram"),
        marked("a1111", "fp8", [], "set FP8 weight to Disable"),
        marked("a1111", "inpainting", [], "takes more than text"),
        marked("a1111", "text encoder", ["--medvram"], "train_text_encoder needs the text encoder beside the UNet"),
        marked("forge", "inpainting", [], "takes more than text"),
        marked("forge", "quantised", [], "set Diffusion in Low Bits to Automatic"),
        marked("neo", "inpainting", [], "takes more than text"),
        *(marked("neo", quantised_as, [], f"(ComfyUI's scaled fp8, nvfp4 or int8){INSTEAD}") for quantised_as in COMFY),
        marked("neo", "bnb", [], f"(bitsandbytes' nf4 or fp4){INSTEAD}"),
        marked("neo", "fast_fp8", ["--fast-fp8"], "start the WebUI without --fast-fp8"),
        marked("neo", "compiled", [], "is compiled by torch.compile"),
        marked("neo", "rectified", [], "predicts in a way (const) that is not supported"),
        marked("forge", "chroma.Chroma", [], "of a kind (Chroma) that cannot be trained on"),
        marked("neo", "mugen.Mugen", [], "of a kind (Mugen) that cannot be trained on"),
        marked("neo", "sdxl.StableDiffusionXLRefiner", [], "of a kind (StableDiffusionXLRefiner)"),
    ],
)
def test_what_cannot_be_trained_on_is_a_sentence(kind, what, flags, sentence, tmp_path):
    data = shop.write_images(tmp_path / "data", count=1)
    if what == "bnb" and not imports(kind, "bitsandbytes"):
        pytest.skip("bitsandbytes is not installed in the WebUI")
    # By its folder's name Neo tells what such a model predicts.
    folder, family = ("rectified", "sdxl") if what == "rectified" else ("model", "sd1")
    model = checkpoint(kind, tmp_path / folder, family, inpainting=what == "inpainting")
    if what in COMFY:
        quantised.quantise(model, what)
    settings = tmp_path / "out" / "webui" / "config.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(CHOICES.get(what, {})))
    driver = BURDENED if kind == "a1111" else LIMITS
    mode = what if what in ("quantised", "fast_fp8", "compiled") or "." in what else "refused"
    report = inside(kind, mode, model, tmp_path / "out", data, *flags, driver=driver)
    assert sentence in report["error"]
    assert report["changed"] == []
    assert not (tmp_path / "out" / "refused").exists()


@pytest.mark.parametrize(
    ("kind", "family", "expected"),
    [
        marked("a1111", "sd1", ("SD1", None, [])),
        marked("forge", "sd1", ("SD1", "SdVersion.SD1", [])),
        marked("neo", "sd1", ("sd", None, ["sd"])),
        marked("forge", "sdxl", ("SDXL", "SdVersion.SDXL", [])),
        marked("neo", "sdxl", ("xl", None, ["xl"])),
        marked("forge", "flux", ("Flux", "SdVersion.Flux", [])),
        marked("neo", "flux", ("flux", None, ["flux"])),
        marked("neo", "chroma", (None, None, ["sd", "xl", "flux"])),
    ],
)
def test_the_webui_knows_from_the_card_what_a_lora_is_for(kind, family, expected, tmp_path):
    data = shop.write_images(tmp_path / "data", count=2, side=64)
    write = {"flux": flux.write, "chroma": flux.write_chroma}.get(family)
    model = write(tmp_path / "model") if write else checkpoint(kind, tmp_path / "model", family)
    report = inside(kind, "card", model, tmp_path / "out", data, driver="cards.py")
    assert (report["kind"], report["filtered by"], report["shown"]) == expected


@pytest.mark.parametrize("kind", [marked("forge"), marked("neo")])
def test_weights_in_low_bits_are_trained_on_and_stay_as_they_are(kind, tmp_path):
    data = shop.write_images(tmp_path / "data", count=4, side=64)
    settings = tmp_path / "out" / "webui" / "config.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"forge_unet_storage_dtype": "float8-e4m3fn"}))
    model = checkpoint(kind, tmp_path / "model", "sd1")
    report = inside(kind, "low_bits", model, tmp_path / "out", data, driver=LIMITS)
    assert report["stored"] == "torch.float8_e4m3fn"
    assert report["changed"] == []
    assert report["preview"] == report["txt2img"] != report["base"]
    assert report["base after"] == report["base"]
    assert math.isfinite(report["loss"])


@pytest.mark.parametrize("kind", [marked("forge"), marked("neo")])
@pytest.mark.parametrize("marks", [[], ["v_pred"], ["v_pred", "ztsnr"]], ids=" ".join)
def test_what_an_sdxl_predicts_is_read_off_its_marks(kind, marks, tmp_path):
    model = checkpoint(kind, tmp_path / "model", "sdxl")
    save_file(load_file(model) | {name: torch.empty(0) for name in marks}, model)
    report = inside(kind, "facts", model, tmp_path / "out", tmp_path, driver=LIMITS)
    assert report["prediction type"] == ("v_prediction" if marks else "epsilon")
    assert report["zero terminal SNR"] == ("ztsnr" in marks)
    # diffusers' scheduler of SDXL: its last alphas_cumprod is 0.00466.
    assert report["last"] == pytest.approx(0 if "ztsnr" in marks else 0.00466, abs=1e-5)


@pytest.mark.parametrize("kind", [marked("forge"), marked("neo")])
def test_a_model_that_is_chosen_but_not_loaded_yet_is_loaded_to_estimate_a_run(kind, tmp_path):
    data = shop.write_images(tmp_path / "data", count=4, side=64)
    report = inside(kind, "lazy", checkpoint(kind, tmp_path / "model", "sd1"), tmp_path / "out", data, driver=LIMITS)
    assert report == {"steps": 3, "loaded": True, "locked": False}


@pytest.mark.parametrize("kind", [marked("neo")])
def test_layers_that_wait_in_the_cpus_memory_are_trained_on(kind, tmp_path):
    data = shop.write_images(tmp_path / "data", count=4, side=64)
    model = checkpoint(kind, tmp_path / "model", "sd1")
    report = inside(kind, "partial", model, tmp_path / "out", data, driver="partial_neo.py")
    waiting = report["waiting"]
    assert waiting["whole"] == waiting["kept"] == 0
    assert 0 < waiting["recomputed"] == waiting["outside"]
    assert max(report["errors"]) < 1e-4
    assert report["image as before"]


@pytest.mark.parametrize("kind", [marked("neo")])
def test_a_model_that_the_webui_compiles_while_it_draws_is_trained_on(kind, tmp_path):
    data = shop.write_images(tmp_path / "data", count=4, side=64)
    model = checkpoint(kind, tmp_path / "model", "sd1")
    report = inside(kind, "compiling", model, tmp_path / "out", data, driver=LIMITS)
    assert report["compiled"] == [True, True]
    assert report["changed"] == []
    assert report["preview"] == report["txt2img"] != report["base"]
    assert report["base after"] == report["base"]


@pytest.mark.parametrize("kind", [marked("a1111"), marked("forge"), marked("neo")])
def test_a_webui_started_with_one_checkpoint_trains_and_keeps_the_one_that_was_chosen(kind, tmp_path):
    data = shop.write_images(tmp_path / "data", count=4, side=64)
    model = checkpoint(kind, tmp_path / "model", "sd1")
    others = tmp_path / "out" / "webui" / "models" / "Stable-diffusion"
    others.mkdir(parents=True)
    tensors = load_file(model)
    last = "model.diffusion_model.out.2.weight"
    save_file({**tensors, last: tensors[last] * 0.5}, others / "other.safetensors")
    if model.with_suffix(".yaml").is_file():
        shutil.copy(model.with_suffix(".yaml"), others / "other.yaml")
    report = inside(kind, "choosing", model, tmp_path / "out", data, driver="choosing.py")
    assert report["first"] != report["before"], "the two checkpoints generate the same image"
    assert report["second"] == {"status": "done", "error": None, "chosen": "other.safetensors"}
    assert report["after"] == report["before"]
    assert report["trained on"] == "other"
    assert report["listed"]
    assert report["other chosen"]["status"] == "failed"
    assert (
        f"started for other.safetensors, but the WebUI's checkpoint is now {model.name}"
        in report["other chosen"]["error"]
    )
    assert report["other chosen"]["chosen"] == model.name
    assert report["replaced"]["status"] == "failed"
    assert "is no longer the file" in report["replaced"]["error"]
    assert (report["unloaded"]["status"], report["unloaded"]["trained on"]) == ("done", "other")


@pytest.mark.parametrize("kind", [marked("a1111"), marked("forge")])
def test_the_webuis_own_blip_captions_images(kind, tmp_path):
    data = shop.write_images(tmp_path / "data", count=2, side=64)
    model = checkpoint(kind, tmp_path / "model", "sd1")
    report = inside(kind, "caption", model, tmp_path / "out", data, driver="interrogating.py")
    assert len(report["ours"]) == 2
    assert all(caption.strip() for caption in report["ours"])
    assert report["ours"] == [without_opening(caption) for caption in report["theirs"]]
    assert report["devices"] == ["cpu"]
    assert report["free"]
