"""Control images and references in real WebUIs, with models of real shapes: the image is the WebUI's own.

A1111 needs the extension sd-webui-controlnet, its own or that of ``WEBUI_CONTROLNET``, and its packages.
"""

import base64
import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lora_scripts_ext.catalogue import candidates
from lora_scripts_ext.catalogue.store import Catalogue
from lora_scripts_ext.commands import catalogue

from . import checkpoints, control_models, server
from .kinds import controlnet, marked, root, with_controlnet

SIDE, STEPS = 128, 2
ADAPTER_PREPROCESSORS = {
    "a1111": "ip-adapter_clip_h", "forge": "CLIP-ViT-H (IPAdapter)", "neo": "CLIP-ViT-H (IPAdapter)",
}  # fmt: skip


def picture(path, seed):
    """Shapes on a ground."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (SIDE, SIDE), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, size = rng.integers(0, 90, 3)
        pen.ellipse((x, y, x + size, y + size), fill=tuple(int(one) for one in rng.integers(0, 256, 3)))
    image.save(path)
    return path


@pytest.fixture(scope="module", params=[with_controlnet("a1111"), marked("forge"), marked("neo")])
def webui(request, tmp_path_factory):
    """A WebUI with an SD1.5 of real size, a ControlNet and an IP-Adapter."""
    kind = request.param
    folder = tmp_path_factory.mktemp(f"{kind}_control")
    data = folder / "data"
    model = checkpoints.write_full(folder / "model", root(kind), kind)
    control_models.write_controlnet(data / "models" / "ControlNet")
    control_models.write_adapter(data / "models" / "ControlNet")
    flags = []
    if kind == "a1111":
        (data / "extensions").mkdir(parents=True)
        (data / "extensions" / "sd-webui-controlnet").symlink_to(controlnet(), target_is_directory=True)
        control_models.write_image_encoder(data / "annotators" / "clip_vision" / "clip_h.pth")
        flags = ["--controlnet-annotator-models-path", str(data / "annotators")]
    else:
        control_models.write_image_encoder(data / "models" / "ControlNetPreprocessor" / "CLIP-ViT-H-14.safetensors")
    with server.running(kind, model, data, *flags) as running:
        yield running


def unit(webui, image, preprocessor, model, weight):
    """A unit of ControlNet as its own documentation writes it."""
    listed = webui.get("controlnet/model_list")["model_list"]
    return {
        "enabled": True, "image": base64.b64encode(Path(image).read_bytes()).decode(), "module": preprocessor,
        "model": next((one for one in listed if one.rpartition(" [")[0] == model or one == model), "None"),
        "weight": weight, "resize_mode": "Crop and Resize", "pixel_perfect": True,
    }  # fmt: skip


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), int)


def theirs(webui, facts, seed, *units):
    """The WebUI's own image."""
    options = {key: facts[key] for key in ("prompt", "width", "height", "steps", "cfg_scale")}
    extra = {"negative_prompt": facts["negative"], "sampler_name": facts["sampler"], "seed": seed, "subseed": 0}
    scripts = {"alwayson_scripts": {"controlnet": {"args": list(units)}}} if units else {}
    return pixels(base64.b64decode(webui.post("sdapi/v1/txt2img", **options, **extra, **scripts)["images"][0]))


def drawn(webui, rows, **settings):
    """The candidates of a catalogue with these products, drawn in the WebUI."""
    rules = {"rules": [{"name": "all", "loras": []}]}
    size = {"width": SIDE, "height": SIDE, "steps": STEPS, "candidates": 1, "channels": ["social-square"]}
    made = webui.send("POST", "catalogues", name="c", products=rows, rules=rules, **size, **settings)
    path = f"catalogues/{made['id']}"
    webui.wait_for(webui.send("POST", f"{path}/generate")["job"], "done")
    return [one["candidates"][0] for one in webui.send("GET", f"{path}/products")["items"]]


def image_of(webui, candidate):
    return pixels(webui.open(candidate["image"].removeprefix("/")).read())


def rows(folder, column):
    """The same product with two images, and without one."""
    first, second = (str(picture(folder / f"{column}-{seed}.png", seed)) for seed in (1, 2))
    shoe = {"title": "a shoe"}
    return [{**shoe, "sku": "A", column: first}, {**shoe, "sku": "B", column: second}, {**shoe, "sku": "C"}]


def settings(webui, column, weight):
    """How the images of a column are used, and ControlNet's names for that."""
    if column == "control":
        return {"preprocessor": "canny", "model": control_models.CONTROL, "weight": weight}
    return {"preprocessor": ADAPTER_PREPROCESSORS[webui.kind], "model": control_models.ADAPTER, "weight": weight}


def need_adapter(webui):
    if webui.kind == "neo":
        pytest.skip("Forge Neo cannot load an image encoder with the transformers that it pins")


@pytest.mark.parametrize("column", ["control", "reference"])
def test_images_act_as_in_the_webui_itself(webui, tmp_path, column):
    if column == "reference":
        need_adapter(webui)
    before = webui.txt2img("a teapot")
    products = rows(tmp_path, column)
    found = {}
    for weight in (0.8, 0.4):
        wanted = settings(webui, column, weight)
        for row, candidate in zip(products, drawn(webui, products, **{column: wanted}), strict=True):
            assert candidate["state"] == "drawn", candidate["error"]
            units = [unit(webui, row[column], *wanted.values())] if column in row else []
            image = found[row["sku"], weight] = image_of(webui, candidate)
            expected = theirs(webui, candidate["facts"], candidate["seed"], *units)
            assert np.array_equal(image, expected), (row["sku"], weight, np.abs(image - expected).max())
    seen = [found[key].tobytes() for key in (("A", 0.8), ("B", 0.8), ("C", 0.8), ("A", 0.4))]
    assert len(set(seen)) == 4
    assert np.array_equal(found["C", 0.8], found["C", 0.4])
    assert webui.txt2img("a teapot") == before


def test_both_act_together(webui, tmp_path):
    need_adapter(webui)
    before = webui.txt2img("a teapot")
    row = rows(tmp_path, "control")[0] | rows(tmp_path, "reference")[1]
    wanted = {column: settings(webui, column, 0.7) for column in ("control", "reference")}
    (candidate,) = drawn(webui, [row], **wanted)
    units = [unit(webui, row[column], *how.values()) for column, how in wanted.items()]
    assert np.array_equal(image_of(webui, candidate), theirs(webui, candidate["facts"], candidate["seed"], *units))
    assert webui.txt2img("a teapot") == before


def test_a_model_that_is_not_there_is_a_sentence(webui, tmp_path):
    before = webui.txt2img("a teapot")
    wanted = settings(webui, "control", 1.0) | {"model": "none such"}
    found = drawn(webui, rows(tmp_path, "control"), control=wanted)
    assert [one["state"] for one in found] == ["failed", "failed", "drawn"]
    assert "ControlNet has no 'none such' in this WebUI; it has: " in found[0]["error"]
    assert webui.txt2img("a teapot") == before


def test_a_model_that_does_not_fit_fails_only_its_product(webui, tmp_path):
    before = webui.txt2img("a teapot")
    # An IP-Adapter takes what an image encoder says of an image, not its edges.
    wanted = settings(webui, "reference", 1.0) | {"preprocessor": "canny"}
    found = drawn(webui, rows(tmp_path, "reference"), reference=wanted)
    assert [one["state"] for one in found] == ["failed", "failed", "drawn"]
    assert "ControlNet could not use the image: " in found[0]["error"]
    assert webui.txt2img("a teapot") == before


def test_over_the_api_of_another_webui(webui, tmp_path, capsys):
    before = webui.txt2img("a teapot")
    row = rows(tmp_path, "control")[0]
    wanted = settings(webui, "control", 0.8)
    (tmp_path / "products.json").write_text(json.dumps([row]))
    (tmp_path / "rules.yaml").write_text("rules:\n- loras: []\n")
    arguments = [
        "--products",
        tmp_path / "products.json",
        "--rules",
        tmp_path / "rules.yaml",
        "--out",
        tmp_path / "out",
    ]
    chosen = {"webui": webui.url, "control": json.dumps(wanted), "width": SIDE, "height": SIDE, "steps": STEPS}
    arguments += [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
    assert catalogue.main(["generate", *map(str, arguments), "--channel", "shopify", "--candidates", "1"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["generated"] == 1
    (path,) = (tmp_path / "out" / "catalogue" / "candidates").glob("*.png")
    facts, seed = facts_of(tmp_path / "out" / "catalogue")
    units = [unit(webui, row["control"], *wanted.values())]
    assert np.array_equal(pixels(path.read_bytes()), theirs(webui, facts, seed, *units))
    assert webui.txt2img("a teapot") == before


def facts_of(folder):
    """How the only candidate of a catalogue was drawn, and its seed."""
    with contextlib.closing(Catalogue.open(folder)) as shop:
        (candidate,) = candidates.of_product(shop, shop.page().products[0].id)
        return candidate.facts, candidate.seed
