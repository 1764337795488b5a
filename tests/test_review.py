"""Contact sheets: what is on them, that nothing is drawn twice, and that a kill costs no image."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageFont

from lora_scripts_ext.commands import review
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.images import fonts
from lora_scripts_ext.jobs import review_plan, review_prompts, sheet
from lora_scripts_ext.jobs.kinds import registry
from lora_scripts_ext.training import run

from . import shop
from .place import Place

ROOT = Path(__file__).resolve().parent.parent
# Pillow from 11 on has it beside the new one.
OLD_FONT = getattr(ImageFont, "load_default_imagefont", ImageFont.load_default)
FAST = ["--set", "steps=2", "--set", "seed=7"]


@pytest.fixture(scope="module")
def trained(data, checkpoint, tmp_path_factory):
    """The folder of a training of three epochs, each with a checkpoint."""
    folder = tmp_path_factory.mktemp("trained") / "brand"
    config = shop.make_config(data, checkpoint, folder, epochs=3, save_epochs=1, learning_rate=0.05)
    run.train(config, StandaloneHost())
    return folder


def reviewed(capsys, *arguments):
    """The JSON that the command prints last."""
    code = review.main([str(one) for one in arguments])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return json.loads(printed.out.splitlines()[-1])


def test_a_training_is_reviewed_from_the_shell_with_what_it_says_of_itself(trained, checkpoint, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    found = reviewed(capsys, trained, "--out", out, "--strengths", "1,0.5", *FAST)
    assert [Path(path).stem for path in found["checkpoints"]] == ["brand-000001", "brand-000002", "brand"]
    assert found["base_model"] == str(checkpoint)
    # The captions name a phone, a lamp, a chair, a watch, a cup and a shoe.
    assert found["prompts"] == [
        f"brnd, {one}" for one in ("a pair of headphones", "a bicycle", "a leather backpack", "a bowl of fruit")
    ]
    assert (found["strengths"], found["drawn"], len(found["images"])) == ([0.5, 1], 28, 28)
    first, last = Image.open(found["images"][0]), Image.open(found["images"][-1])
    assert first.size == (32, 32)
    assert first.info["parameters"].startswith("brnd, a pair of headphones\nSteps: 2, Sampler: Euler,")
    assert last.info["parameters"].startswith("brnd, a bowl of fruit <lora:brand:1>\nSteps: 2")
    seeds = {image.rpartition("Seed: ")[2].split(",")[0] for image in map(parameters, found["images"])}
    assert seeds == {"7", "8", "9", "10"}
    with Image.open(out) as drawn:
        assert drawn.format == "PNG" and "Steps: 2" in drawn.info["parameters"]


def parameters(path):
    with Image.open(path) as image:
        return image.info["parameters"]


def test_the_seed_is_the_same_in_every_cell_and_the_lora_is_not(trained, tmp_path, capsys):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\ufeff# two\nbrnd, a car\n\nbrnd, 一只猫\n", encoding="utf-8")
    found = reviewed(capsys, trained, "--out", tmp_path / "s.png", "--prompts", prompts, "--strengths", "0,1", *FAST)
    pixels = {}
    for path in found["images"]:
        with Image.open(path) as image:
            pixels[Path(path).name.rpartition("-")[0], image.info["parameters"].split(",")[1][:4]] = image.tobytes()
    base = pixels["without-lora", " a c"]
    assert pixels["brand-0", " a c"] == pixels["brand-000001-0", " a c"] == base
    assert len({base, pixels["brand-1", " a c"], pixels["brand-000001-1", " a c"]}) == 3
    assert found["prompts"] == ["brnd, a car", "brnd, 一只猫"]


def test_other_words_leave_what_is_drawn(trained, tmp_path, capsys):
    out, prompts = tmp_path / "sheet.png", tmp_path / "prompts.txt"

    def drawn(text, *more):
        prompts.write_text(text, encoding="utf-8")
        options = ["--checkpoints", "1", "--strengths", "1", "--prompts", prompts, *FAST]
        return reviewed(capsys, trained, "--out", out, *options, *more)["drawn"]

    assert drawn("a cup") == 2
    assert drawn("a car") == 2
    assert drawn("a cup") == 0
    assert drawn("a cup\na car") == 2
    assert drawn("a cup", "--strengths", "1,0.8") == 1
    assert drawn("a cup", "--set", "seed=8") == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_after_a_kill_only_what_is_missing_is_drawn(trained, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    options = [str(trained), "--out", str(out), "--strengths", "0.6,1", *FAST]
    command = [sys.executable, "-m", "tests.dying", "before", "brand-000002-1-*.png", "review", *options]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    images = tmp_path / "sheet-images"
    before = {path: path.stat().st_mtime_ns for path in images.glob("*.png")}
    # Without LoRA, the first checkpoint at both strengths, the second at the first.
    assert len(before) == 16 and not out.exists() and list(images.glob(".*"))
    found = reviewed(capsys, *options)
    assert (found["drawn"], len(found["images"])) == (12, 28)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert out.exists() and not list(images.glob(".*"))


def test_what_a_training_suggests_is_always_on_its_sheet(trained, tmp_path, capsys):
    run_folder = tmp_path / "brand"
    run_folder.mkdir()
    for path in (*trained.glob("*.safetensors"), trained / "events.jsonl"):
        (run_folder / path.name).write_bytes(path.read_bytes())
    with (run_folder / "events.jsonl").open("a") as log:
        for name in ("brand", "brand-000001"):
            event = {"event": "suggested", "checkpoint": f"/elsewhere/{name}.safetensors", "strength": 0.8}
            log.write(json.dumps({**event, "reason": ""}) + "\n")
        log.write('{"event": "sugg')
    options = ["--checkpoints", "2", "--strengths", "0.8", *FAST]
    found = reviewed(capsys, run_folder, "--out", tmp_path / "sheet.png", *options)
    assert [Path(path).stem for path in found["checkpoints"]] == ["brand-000001", "brand"]
    with Image.open(tmp_path / "sheet.png") as image:
        assert (18, 122, 60) in {color for _, color in image.getcolors(1 << 22)}


def test_what_is_wrong_is_said(trained, tmp_path, capsys):
    out = ["--out", str(tmp_path / "sheet.png")]
    lora = tmp_path / "alone.safetensors"
    lora.write_bytes((trained / "brand.safetensors").read_bytes())
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    for arguments, sentence in (
        ([str(tmp_path / "no"), *out], "there is no LoRA at"),
        ([str(lora), *out], "trained on tiny. Name it with --base-model FILE."),
        ([str(trained), *out, "--prompts", str(empty)], "there is no prompt in this file"),
        ([str(trained), *out, "--set", "stepps=3"], "unknown key 'stepps'"),
        ([str(trained), *out, "--strengths", "11"], "it must be from -10 to 10"),
        ([str(trained), *out, "--set", "language=fr"], "valid: en, zh"),
    ):
        assert review.main(arguments) == 2
        assert sentence in capsys.readouterr().err


def test_a_lora_that_lies_elsewhere_finds_its_base_model_by_name_and_hash(trained, checkpoint, tmp_path, capsys):
    lora = tmp_path / "models" / "Lora" / "renamed.safetensors"
    model = tmp_path / "models" / "Stable-diffusion" / checkpoint.name
    for path, source in ((lora, trained / "brand.safetensors"), (model, checkpoint)):
        path.parent.mkdir(parents=True)
        path.write_bytes(source.read_bytes())
    found = reviewed(capsys, lora, "--out", tmp_path / "sheet.png", "--strengths", "1", *FAST)
    assert found["base_model"] == str(model)


def checkpoints(count):
    return [review_plan.Checkpoint(Path(f"{n:02d}.safetensors"), n, n, n == count, {}) for n in range(1, count + 1)]


def test_of_many_checkpoints_a_few_are_shown_always_the_last_and_the_suggested():
    def shown(count, most=5, suggested=""):
        return [one.step for one in review_plan.few(checkpoints(count), most, suggested)]

    assert shown(3) == [1, 2, 3]
    assert shown(12) == [2, 5, 7, 10, 12]
    assert shown(12, suggested="06.safetensors") == [2, 6, 7, 10, 12]
    assert shown(12, suggested="07.safetensors") == [2, 5, 7, 10, 12]
    assert shown(12, suggested="11.safetensors") == [2, 5, 7, 11, 12]
    assert shown(12, most=1) == [12]
    assert shown(12, most=1, suggested="03.safetensors") == [3, 12]
    assert all(count in shown(count) and len(shown(count)) == 5 for count in range(5, 60))


def test_prompts_name_what_no_caption_names():
    captions = ["a pair of Headphones", "two bicycles", "一把椅子", "a cup of tea", "a carpet"]
    found = review_prompts.suitable("brand_style", "brnd", captions)
    assert found == [f"brnd, {one}" for one in (
        "a leather backpack", "a bowl of fruit", "a table lamp", "a pair of sneakers",
    )]  # fmt: skip
    product = review_prompts.suitable("product", "rdsnkr", ["a red sneaker, on a beach", "a red sneaker, studio"])
    assert product[0] == "rdsnkr, a red sneaker, on a wooden table by a window, morning light"
    assert len(product) == 4 and not any("beach" in prompt for prompt in product)
    for kind in ("character", "car", "season"):
        assert len(set(review_prompts.suitable(kind, "", []))) == 4
    # All of them are there: the rarest are taken.
    everything = [" ".join(words) for _, words in review_prompts._SUBJECTS] * 2 + ["a cat"]
    assert len(review_prompts.suitable("brand_style", "brnd", everything)) == 4


def written(folder, count, size, color):
    paths = []
    for number in range(count):
        paths.append(folder / f"{color}{number}.png")
        Image.new("RGB", size, color).save(paths[-1])
    return paths


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_large_sheet_is_scaled_down_and_a_tiny_one_up(tmp_path, language):
    def size(across, side, blocks):
        row = written(tmp_path, across, (side, side // 2), "red")
        base = written(tmp_path, 1, (side, side // 2), "blue")[0]
        columns = [sheet.Column("", epoch, epoch * 10, last=epoch == across) for epoch in range(1, across + 1)]
        made = sheet.Sheet(
            "brand", "Steps: 20", columns, [0.6, 0.8, 1.0],
            [sheet.Block("brnd, 一双鞋, a long prompt " * 20, base, [row] * 3) for _ in range(blocks)], 0.8, language,
        )  # fmt: skip
        with Image.open(sheet.write_sheet(tmp_path / "sheet.png", made)) as image:
            return image.size

    width, height = size(5, 1024, 4)
    assert width <= 2800 and width * height < 8_000_000
    assert size(1, 32, 1)[0] >= 2 * 32


def test_the_suggested_cell_is_framed_and_others_are_not(tmp_path):
    cells = written(tmp_path, 4, (200, 200), "red")
    columns = [sheet.Column("", 1), sheet.Column("", 2, suggested=True)]
    made = sheet.Sheet("a", "", columns, [0.5, 1.0], [sheet.Block("p", None, [cells[:2], cells[2:]])], 1.0)
    with Image.open(sheet.write_sheet(tmp_path / "sheet.png", made)) as image:
        colors = {color: count for count, color in image.getcolors(1 << 20)}
    frame = colors[18, 122, 60]
    assert frame > 4 * 190 * sheet._FRAME * 0.9
    # The others have a thin line around them.
    assert colors[255, 0, 0] == 3 * 198 * 198 + 192 * 192


def test_text_is_drawn_without_any_font_of_the_system(tmp_path, monkeypatch):
    def none(name, size):
        raise OSError("cannot open resource")

    monkeypatch.setattr(fonts.ImageFont, "truetype", none)
    monkeypatch.setattr(fonts.ImageFont, "load_default", lambda *size: old_font(*size))
    fonts._named.cache_clear(), fonts._own.cache_clear()
    cell = written(tmp_path, 1, (64, 64), "red")
    made = sheet.Sheet(
        "brand 品牌", "", [sheet.Column("a")], [1.0], [sheet.Block("红鞋 … é", None, [cell])], None, "zh"
    )
    with Image.open(sheet.write_sheet(tmp_path / "sheet.png", made)) as image:
        assert image.width >= 640
    fonts._named.cache_clear(), fonts._own.cache_clear()


def old_font(*size):
    """Pillow's own font before 10.1, which has one size and Latin characters only."""
    if size:
        raise TypeError("load_default() takes 0 positional arguments but 1 was given")
    return OLD_FONT()


def test_lines_are_wrapped_between_words_and_anywhere_in_chinese():
    chosen = fonts.font("a", 16)
    lines = fonts.wrapped("one two three four five six seven", chosen, chosen.getlength("one two three"), most=2)
    assert lines[0] == "one two three" and lines[1].endswith("…")
    assert fonts.wrapped("", chosen, 100) == [""]
    assert len(fonts.wrapped("红" * 30, chosen, chosen.getlength("红" * 10), most=9)) == 3


def test_a_sheet_over_the_queue_says_what_it_has_drawn(trained, checkpoint, tmp_path):
    place = Place(tmp_path / "library")
    with pytest.raises(UserError, match="strengths hold"):
        registry.by_name("review").plan({"base_model": "x", "loras": []}, place.environment, "config")
    config = {"base_model": str(checkpoint), "loras": [str(trained)], "prompts": ["a", "a", "b"], "steps": 1, "most": 2}
    place.add({**config, "strengths": [1, 0.5, 1], "without_lora": False}, "review")
    done = place.perform()
    assert done.state == "done", done.reason
    assert (done.result["prompts"], done.result["strengths"]) == (["a", "b"], [0.5, 1])
    assert len(done.result["images"]) == 2 * 2 * 2 and Path(done.result["sheet"]).is_file()
    assert place.report(done)["prepare"]["done"] == 8
