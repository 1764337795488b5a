"""The quality report on datasets with defects, and on good ones, which must get no findings."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from lora_scripts_ext import config as configs
from lora_scripts_ext.commands import check_dataset
from lora_scripts_ext.dataset import source
from lora_scripts_ext.images import decode, excluded
from lora_scripts_ext.preparation import advice, report
from lora_scripts_ext.preparation.measure import blur, difference_hash

from .photos import photo

BRAND = Path(__file__).parents[1] / "pocket" / "brand"


def report_of(folder, captions=None, **changes):
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if ".lora" not in str(path))
    captions = (
        dict.fromkeys(names, "a cup") | {name: f"thing {name}" for name in names} if captions is None else captions
    )
    settings = {"resolution": 512, "count_tokens": lambda text: len(text.split()), "longest": 75} | changes
    return report.report(folder, names, captions=captions, **settings)


def codes(quality):
    return {one.name: [reason.code for reason in one.reasons] for one in quality.verdicts}


def save(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **({"quality": 90} if path.suffix == ".jpg" else {}), **options)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clean")
    for seed in range(16):
        save(photo(seed, white=seed % 3 == 0), folder / f"{seed:02d}.jpg")
    return folder


def test_good_images_get_no_verdict(clean):
    quality = report_of(clean)
    assert codes(quality) == {name: [] for name in codes(quality)}
    assert quality.advice == ()
    assert quality.settings == advice.Settings(repeats=12, epochs=10, rank=8)


def test_drawings_on_plain_ground_are_not_mistaken_for_each_other():
    names = sorted(path.name for path in BRAND.glob("*.png"))
    measured = [report.measure(BRAND / name, 128) for name in names]
    assert len(names) >= 30
    assert report.duplicates.pairs(measured) == []
    assert "bad" not in {reason.grade for one in measured for reason in report.verdict.of_image(one, 128)}


SPOILED = {
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(4)),
    "too_small": lambda image: image.resize((300, 300)),
    "aspect": lambda image: image.crop((0, 200, 640, 370)).resize((2400, 640)),
    "too_dark": lambda image: image.point([value // 8 for value in range(256)] * 3),
    "flat": lambda image: image.point([150 + value // 20 for value in range(256)] * 3),
    "over_exposed": lambda image: over_exposed(image),
}


def over_exposed(image):
    """So bright that the brighter half of it is white."""
    factor = 250 / np.percentile(np.asarray(image).min(axis=2), 45)
    return image.point([min(255, round(factor * value)) for value in range(256)] * 3)


@pytest.mark.parametrize("code", SPOILED)
@pytest.mark.parametrize("seed", [30, 31, 32])
def test_a_defect_of_an_image_is_detected_and_named(code, seed, tmp_path):
    save(SPOILED[code](photo(seed)), tmp_path / "spoiled.jpg")
    save(photo(seed + 100), tmp_path / "good.jpg")
    codes_by_name = codes(report_of(tmp_path))
    assert code in codes_by_name["spoiled.jpg"]
    assert codes_by_name["good.jpg"] == []


def test_a_shaken_image_is_blurred_and_a_soft_backdrop_is_not(tmp_path):
    shaken = np.asarray(photo(5), dtype=np.float32)
    shaken = np.mean([np.roll(shaken, shift, axis=1) for shift in range(14)], axis=0).astype(np.uint8)
    save(Image.fromarray(shaken), tmp_path / "shaken.jpg")
    sharp = photo(6)
    soft = sharp.filter(ImageFilter.GaussianBlur(12))
    soft.paste(sharp.crop((200, 200, 440, 440)), (200, 200))
    save(soft, tmp_path / "portrait.jpg")
    codes_by_name = codes(report_of(tmp_path))
    assert codes_by_name["shaken.jpg"] == ["blurred"]
    assert codes_by_name["portrait.jpg"] == []


def test_blur_grows_with_the_radius():
    grey = [np.asarray(photo(3).filter(ImageFilter.GaussianBlur(r)).convert("L"), np.float32) for r in (0, 1, 2, 3, 5)]
    values = [blur(one) for one in grey]
    assert values == sorted(values)
    assert values[0] < 0.35
    assert values[-1] > 0.7


def test_duplicates_are_detected_however_they_were_made(tmp_path):
    for seed in range(40, 50):
        save(photo(seed), tmp_path / f"{seed}.jpg")
    first = photo(40)
    copies = {
        "x_small.jpg": first.resize((560, 560)),
        "x_turned.jpg": first.rotate(90),
        "x_half.jpg": first.rotate(180),
        "x_mirrored.jpg": first.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "x_brighter.jpg": first.point([min(255, value + 4) for value in range(256)] * 3),
    }
    for name, image in copies.items():
        save(image, tmp_path / name)
    quality = report_of(tmp_path)
    reasons = {one.name: one.reasons for one in quality.verdicts}
    for name in copies:
        assert [reason.code for reason in reasons[name]] == ["duplicate"], name
        assert "40.jpg" in reasons[name][0].text or "x_" in reasons[name][0].text
    assert "is a turned copy of" in reasons["x_turned.jpg"][0].text
    assert quality.count("bad") == len(copies)


def test_of_copies_the_better_one_is_kept_whatever_its_name(tmp_path):
    sharp = photo(40, side=800)
    soft = sharp.filter(ImageFilter.GaussianBlur(4))
    save(sharp.resize((600, 600)), tmp_path / "a_small.jpg")
    save(sharp.resize((700, 700)), tmp_path / "b_middle.jpg")
    save(sharp, tmp_path / "c_large.jpg")
    sets = {
        "soft": {"a_soft.png": soft, "b_sharp.png": sharp},
        "packed": {"b_packed.jpg": sharp, "c_good.jpg": sharp, "a_packed.webp": sharp},
        "equal": {"a.png": sharp, "b.png": sharp},
        "copied": {"bell 2.png": sharp, "bell (1).png": sharp, "bell - Copy.png": sharp, "bell.png": sharp},
    }
    for folder, images in sets.items():
        for name, image in images.items():
            options = {"quality": 95 if "good" in name else 20} if name.endswith(("jpg", "webp")) else {}
            (tmp_path / folder).mkdir(exist_ok=True)
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / folder / name, **options)
    flat = report.report(
        tmp_path,
        ["a_small.jpg", "b_middle.jpg", "c_large.jpg"],
        resolution=512,
        captions={},
        count_tokens=len,
        longest=75,
    )
    assert flat.kept == {"c_large.jpg": ("a_small.jpg", "b_middle.jpg")}
    assert codes(flat)["c_large.jpg"] == []
    kept = {folder: [*report_of(tmp_path / folder).kept] for folder in sets}
    assert kept == {"soft": ["b_sharp.png"], "packed": ["c_good.jpg"], "equal": ["a.png"], "copied": ["bell.png"]}
    assert "kept      c_large.jpg, in place of a_small.jpg, b_middle.jpg" in check_dataset.lines(flat)
    assert flat.to_dict()["duplicates"] == [{"kept": "c_large.jpg", "copies": ["a_small.jpg", "b_middle.jpg"]}]


def test_in_a_chain_only_what_looks_like_a_kept_image_is_excluded():
    def measured(shift, side):
        grey = np.full((16, 16), 100 + shift, dtype=np.uint8)
        return report.Measures(side, side, 1000, 0.2, 200, 90, 0, 0, (0, 0, 0), 0, grey, np.zeros((64, 64), bool))

    # Levels of 5 apart are alike, of 10 are not.
    pairs = report.duplicates.pairs
    assert pairs([measured(0, 600), measured(5, 700), measured(10, 800)]) == [(2, 1, "same")]
    assert pairs([measured(0, 600), measured(5, 900), measured(10, 800)]) == [(1, 0, "same"), (1, 2, "same")]
    assert pairs([measured(0, 900), measured(5, 700), measured(10, 800)]) == [(0, 1, "same")]


@pytest.mark.parametrize("size", [(1, 400), (400, 1), (1, 1), (2, 3), (7, 9), (10_000, 1), (3, 512)])
def test_tiny_and_thin_images_are_measured(size, tmp_path, capsys):
    Image.new("RGB", size, "red").save(tmp_path / "thin.png")
    save(photo(1), tmp_path / "good.png")
    assert check_dataset.main(["--input", str(tmp_path)]) == 0
    images = json.loads(capsys.readouterr().out.splitlines()[-1])["pictures"]
    assert {one["name"]: one["verdict"] for one in images} == {"good.png": "good", "thin.png": "bad"}


def test_duplicates_on_plain_white_are_detected(tmp_path):
    for seed in range(40, 52):
        save(photo(seed, white=True), tmp_path / f"{seed}.jpg")
    copies = {"x_turned.jpg": photo(40, white=True).rotate(90), "x_small.jpg": photo(41, white=True).resize((520, 520))}
    for name, image in copies.items():
        save(image, tmp_path / name)
    reasons = {one.name: [reason.text for reason in one.reasons] for one in report_of(tmp_path).verdicts if one.reasons}
    assert reasons == {"x_turned.jpg": ["is a turned copy of 40.jpg"], "x_small.jpg": ["looks the same as 41.jpg"]}


def test_a_hash_is_the_sign_of_64_differences():
    grey = np.random.default_rng(1).integers(0, 256, (8, 9), dtype=np.uint8)
    bits = "".join(
        str(int(int(grey[row, column]) - int(grey[row, column + 1]) > 2)) for row in range(8) for column in range(8)
    )
    assert difference_hash(Image.fromarray(grey)) == int(bits, 2)


def test_clutter_behind_a_product_is_doubtful(tmp_path):
    save(photo(1, busy=True), tmp_path / "busy.jpg")
    save(photo(1, white=True), tmp_path / "plain.jpg")
    codes_by_name = codes(report_of(tmp_path))
    assert codes_by_name == {"busy.jpg": ["cluttered"], "plain.jpg": []}


def test_damaged_files_and_captions_are_reported(tmp_path):
    save(photo(1), tmp_path / "a.jpg")
    save(photo(2), tmp_path / "b.jpg")
    (tmp_path / "c.jpg").write_bytes(b"\xff\xd8")
    quality = report_of(tmp_path, {"b.jpg": "word " * 80})
    assert codes(quality) == {"a.jpg": ["caption_missing"], "b.jpg": ["caption_too_long"], "c.jpg": ["unreadable"]}
    assert codes(report_of(tmp_path, {}))["a.jpg"] == []
    assert [one.grade for one in quality.verdicts] == ["doubtful", "doubtful", "bad"]
    assert json.loads(json.dumps(quality.to_dict()))["bad"] == 1


def test_the_dataset_as_a_whole_gets_advice(tmp_path):
    same = photo(7, white=True)
    for index in range(12):
        image = same.copy()
        ImageDraw.Draw(image).ellipse([300 + index, 300, 340 + index, 340], fill=(200, 10 * index, 0))
        ImageDraw.Draw(image).text((20, 20), "SHOP.EXAMPLE", fill=(0, 0, 0), font_size=60)
        save(image.resize((640 + 4 * index, 640)), tmp_path / ("phones" if index < 11 else "cases") / f"{index}.png")
    measured = {path.name: report.measure(path, 512) for path in tmp_path.rglob("*.png")}
    relative = {f"{path.parent.name}/{path.name}": measured[path.name] for path in tmp_path.rglob("*.png")}
    captions = dict.fromkeys(relative, "a phone") | {"phones/0.png": ""}
    text = " ".join(advice.of_set(relative, captions, "brnd"))
    for part in (
        "12 images are few", "much alike", "Nearly all backgrounds are white", "phones has 11 images, cases 1",
        "The same text, logo or frame", "1 of 12 images have no caption", "All captions are the same",
    ):  # fmt: skip
        assert part in text
    mixed = advice.of_set(relative, captions | {"phones/1.png": "brnd, a phone"}, "brnd")
    assert "1 of 11 captions contain the trigger word brnd; it is added to all." in mixed


@pytest.mark.parametrize(("rare", "advised"), [(1, True), (4, False)])
def test_in_one_folder_the_subjects_of_the_captions_are_the_classes(rare, advised, tmp_path):
    save(photo(3), tmp_path / "one.png")
    measured = dict.fromkeys((f"{index}.png" for index in range(12)), report.measure(tmp_path / "one.png", 512))
    captions = {name: f"brnd, {'a case' if index < rare else 'a phone'}" for index, name in enumerate(measured)}
    text = " ".join(advice.of_set(measured, captions, "brnd"))
    assert (f"{12 - rare} captions begin with a phone, {rare} with a case" in text) == advised
    everything_differs = {name: f"brnd, thing {index}" for index, name in enumerate(measured)}
    assert "captions begin with" not in " ".join(advice.of_set(measured, everything_differs, "brnd"))


@pytest.mark.parametrize(("count", "rank"), [(5, 8), (29, 8), (100, 16), (400, 32), (3000, 32)])
def test_suggested_settings_train_on_about_two_thousand_examples(count, rank):
    settings = advice.settings(count)
    assert settings.rank == rank
    visits = settings.repeats * settings.epochs * count
    assert 1500 <= visits <= 2600 or (settings.repeats, settings.epochs) == (1, 4)


def test_a_second_report_measures_only_what_changed(clean, monkeypatch):
    first = report_of(clean)
    measured_names = []
    real = decode.small
    monkeypatch.setattr(decode, "small", lambda path, *rest: measured_names.append(path.name) or real(path, *rest))
    assert report_of(clean).to_dict() == first.to_dict()
    assert measured_names == []
    save(photo(99), clean / "03.jpg")
    report_of(clean)
    assert measured_names == ["03.jpg"]
    (clean / ".lora_trainer" / "report.json").write_text("{")
    report_of(clean)
    assert len(measured_names) == 17


def test_a_stopped_report_goes_on_where_it_was(tmp_path, monkeypatch):
    for seed in range(8):
        save(photo(seed, side=520), tmp_path / f"{seed}.jpg")

    class Stop(Exception):
        pass

    def stop(done, total, what):
        if done == 5:
            raise Stop

    with pytest.raises(Stop):
        report_of(tmp_path, progress=stop)
    measured_names = []
    real = decode.small
    monkeypatch.setattr(decode, "small", lambda path, *rest: measured_names.append(path.name) or real(path, *rest))
    report_of(tmp_path)
    assert sorted(measured_names) == ["5.jpg", "6.jpg", "7.jpg"]


def test_an_excluded_image_is_not_trained_on_and_not_measured_again(tmp_path, capsys):
    for seed in range(3):
        save(photo(seed), tmp_path / f"{seed}.jpg")
    save(photo(3).filter(ImageFilter.GaussianBlur(6)), tmp_path / "blurred.jpg")
    assert check_dataset.main(["--input", str(tmp_path), "--leave-out"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "4 images: 3 good, 0 doubtful, 1 bad"
    assert json.loads(out[-1])["bad"] == 1
    config = configs.from_dict(
        {"train_data_dir": str(tmp_path), "base_model": "b", "output_dir": str(tmp_path / "out")}
    )
    dataset = source.read(config, [64], 8)
    assert [example.name for example in dataset.examples] == ["0.jpg", "1.jpg", "2.jpg"]
    assert [(one.name, one.reason) for one in dataset.skipped] == [("blurred.jpg", "is excluded by hand")]
    assert check_dataset.main(["--input", str(tmp_path), "--leave-out"]) == 0
    assert excluded.read(tmp_path) == {"blurred.jpg"}
    (tmp_path / ".lora_trainer" / "left_out.json").write_text("[]")
    assert check_dataset.main(["--input", str(tmp_path)]) == 2
    assert "this list of excluded images is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(("count", "alike"), [(12, False), (1, True)])
def test_a_dataset_is_too_uniform_only_where_it_shows_one_thing_again_and_again(count, alike, tmp_path):
    for index in range(12):
        image = photo(index % count + 60, white=True).rotate(index if alike else 0, fillcolor="white")
        save(image, tmp_path / f"{index}.jpg")
    measured = {path.name: report.measure(path, 512) for path in tmp_path.glob("*.jpg")}
    assert any("much alike" in text for text in advice.of_set(measured, {}, "")) == alike
