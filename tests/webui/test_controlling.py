"""What ControlNet and IP-Adapters do to the images and the model of real WebUIs, without a page."""

import json

import pytest

from . import checkpoints, control_models
from .kinds import checkpoint, controlnet, inside, marked, root, with_controlnet

#: cases with an IP-Adapter
ADAPTED = ("adapter", "another reference", "another weight of the adapter", "both")


@pytest.fixture(scope="module", params=[with_controlnet("a1111"), marked("forge"), marked("neo")])
def drawn(request, tmp_path_factory):
    """What was seen in a WebUI: A1111 with models of real size, the others with short ones."""
    kind = request.param
    folder = tmp_path_factory.mktemp(f"{kind}_controlling")
    data = folder / "out" / "webui"
    controls = data / "models" / "ControlNet"
    flags = []
    if kind == "a1111":
        model = checkpoints.write_full(folder / "model", root(kind), kind)
        control_models.write_adapter(controls)
        (data / "extensions").mkdir(parents=True)
        (data / "extensions" / "sd-webui-controlnet").symlink_to(controlnet(), target_is_directory=True)
        control_models.write_image_encoder(data / "annotators" / "clip_vision" / "clip_h.pth")
        flags = ["--controlnet-annotator-models-path", str(data / "annotators")]
    else:
        model = checkpoint(kind, folder / "model", "sd1")
        control_models.write_adapter(controls, [320] * len(control_models.ATTENTIONS))
        control_models.write_image_encoder(data / "models" / "ControlNetPreprocessor" / "CLIP-ViT-H-14.safetensors")
    control_models.write_original_controlnet(model, controls)
    control_models.write_other(controls)
    names = folder / "names.json"
    names.write_text(json.dumps([control_models.CONTROL, control_models.ADAPTER, control_models.OTHER]))
    return inside(kind, "controlling", model, folder / "out", names, *flags, driver="controlling.py")


def failed_in_neo(drawn):
    """Cases in which Neo fails: with the transformers that it pins, its image encoder cannot be loaded."""
    return {name for name, images in drawn["images"].items() if "'CLIPVisionModelWithProjection'" in images[0]}


def test_images_are_those_of_the_webuis_own_api(drawn):
    failed = failed_in_neo(drawn)
    assert failed == ({name for name in drawn["images"] if name in ADAPTED} if drawn["kind"] == "neo" else set())
    for name, images in drawn["images"].items():
        assert name in failed or images == drawn["expected"][name], name


def test_image_weight_and_model_act(drawn):
    images = [tuple(one) for name, one in drawn["expected"].items() if name not in failed_in_neo(drawn)]
    assert len(set(images)) == len(images)


def test_a_control_image_acts_where_it_is_inpainted_alone(drawn):
    assert drawn["inpainted"] == [True, False]


def test_nothing_is_left_behind(drawn):
    assert drawn["theirs leaves no trace"], "the WebUI itself leaves something behind"
    assert drawn["changed"] == []
    assert drawn["image"]


def test_a_drawing_that_ends_early_leaves_nothing_behind(drawn):
    for way, (ending, plain_as_before) in drawn["ended"].items():
        assert "interrupted" in ending if "interrupted" in way else "in the middle" in ending
        assert plain_as_before, way


def test_what_cannot_be_used_is_a_sentence(drawn):
    assert "ControlNet could not use the image: " in drawn["no model of ControlNet"]
    assert "ControlNet has no 'no such model' in this WebUI; it has: " in drawn["unknown"]
