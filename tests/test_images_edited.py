"""Images rotated and cropped by hand: the right pixels wherever they are decoded, and no cache that is stale."""

import hashlib
import io
import json
import threading

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file

from lora_scripts_ext.captioning.base import Captioner
from lora_scripts_ext.captioning.label import label
from lora_scripts_ext.captions.fields import Fields
from lora_scripts_ext.captions.history import Place
from lora_scripts_ext.captions.store import CaptionStore
from lora_scripts_ext.commands import prepare_dataset
from lora_scripts_ext.errors import NotFound, UserError
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.images import decode, edit, edited, excluded, thumbnail
from lora_scripts_ext.images.edit import UNEDITED, Edit
from lora_scripts_ext.preparation import check, listing
from lora_scripts_ext.training import run

from . import photos, shop
from .test_dataset_store import TinySession, batch, build, put

CROP = (0.1, 0.25, 0.7, 0.75)
ROTATIONS = (0, 90, 180, 270)


def write(folder, name, rotate=0, crop=None):
    edited.write(folder, {**edited.read(folder), name: Edit(rotate, crop)})


def by_pillow(image, rotate, crop):
    """What Pillow itself makes of it; it rotates counter-clockwise."""
    turned = image.rotate(-rotate, expand=True)
    if crop is None:
        return turned
    width, height = turned.size
    return turned.crop(
        (round(crop[0] * width), round(crop[1] * height), round(crop[2] * width), round(crop[3] * height))
    )


@pytest.fixture
def image():
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype=np.uint8))


@pytest.fixture
def room(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path


@pytest.mark.parametrize("crop", [None, CROP])
@pytest.mark.parametrize("rotate", ROTATIONS)
def test_the_pixels_are_those_that_pillow_gives(image, tmp_path, rotate, crop):
    image.putalpha(Image.fromarray(np.random.default_rng(4).integers(0, 256, (40, 60), dtype=np.uint8)))
    image.save(tmp_path / "a.png")
    wanted = by_pillow(image, rotate, crop)
    one = Edit(rotate, crop)
    decoded = decode.decode((tmp_path / "a.png").read_bytes(), one)
    white = Image.new("RGB", wanted.size, "white")
    assert decoded.pixels.tobytes() == Image.composite(wanted.convert("RGB"), white, wanted.getchannel("A")).tobytes()
    assert decoded.alpha.tobytes() == wanted.getchannel("A").tobytes()
    assert decode.size(tmp_path / "a.png", one) == decoded.pixels.size == wanted.size
    assert decode.small(tmp_path / "a.png", 640, one).tobytes() == decoded.pixels.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_edit_comes_after_the_orientation_in_the_file(image, tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    # Of a TIFF older Pillows transpose twice.
    wanted = by_pillow(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")), 90, CROP)
    for path in (tmp_path / "a.png", tmp_path / "a.tiff"):
        image.save(path, exif=exif)
        assert decode.decode(path.read_bytes(), Edit(90, CROP)).pixels.tobytes() == wanted.convert("RGB").tobytes()
        assert decode.size(path, Edit(90, CROP)) == wanted.size


def test_a_crop_turns_with_its_image(image):
    once = Edit(0, CROP).apply(image)
    for rotate in ROTATIONS:
        turned = Edit(0, CROP).rotated(rotate)
        assert turned.apply(image).tobytes() == once.rotate(-rotate, expand=True).tobytes()
        assert turned.rotated(0) == Edit(0, CROP)


def test_a_small_crop_of_a_large_jpeg_stays_sharp(tmp_path):
    photo = photos.photo(1, side=1600, busy=True)
    photo.save(tmp_path / "a.jpg", quality=95)
    small = decode.small(tmp_path / "a.jpg", 160, Edit(0, (0.4, 0.4, 0.5, 0.5)))
    assert small.size == (160, 160)
    wanted = np.asarray(photo.crop((640, 640, 800, 800)), dtype=float)
    assert np.abs(np.asarray(small, dtype=float) - wanted).mean() < 6


@pytest.mark.parametrize(
    ("rotate", "crop"),
    [
        (45, None), ("90", None), (True, None), (1e9, None), ([], None),
        (0, "0000"), (0, [0, 0, 1]), (0, [0, 0, 1, 1, 1]), (0, {}), (0, [-0.1, 0, 1, 1]), (0, [0, 0, 1, 1.1]),
        (0, [0.5, 0, 0.5, 1]), (0, [0, 0.9, 1, 0.1]), (0, [float("nan"), 0, 1, 1]), (0, [0, 0, float("inf"), 1]),
        (0, [0, 0, "1", 1]), (0, [0, 0, None, 1]), (0, [False, 0, 1, 1]), (0, [0, 0, 10**400, 1]), (0, 5),
        (0, [0.5, 0, 0.5 + 1e-9, 1]),
    ],
)  # fmt: skip
def test_what_is_no_edit_is_refused(rotate, crop):
    with pytest.raises(UserError, match=r"^(rotate|crop): .*; send "):
        edit.checked(UNEDITED, rotate, crop)


def test_every_edit_leaves_at_least_a_pixel():
    for crop in ((0.999, 0.999, 1.0, 1.0), (0.0, 0.0, 0.001, 0.001), (0.5, 0.5, 0.501, 0.501)):
        assert Edit(90, crop).size((3, 5)) == (1, 1)
        assert Edit(90, crop).apply(Image.new("RGB", (3, 5))).size == (1, 1)


def test_the_list_is_kept_beside_the_images(tmp_path):
    assert edited.read(tmp_path) == {}
    edits = {"sub/é.png": Edit(270, CROP), "a.png": Edit(180)}
    edited.write(tmp_path, {**edits, "b.png": UNEDITED})
    assert edited.read(tmp_path) == edits and edited.read(tmp_path) is edited.read(tmp_path)
    edited.write(tmp_path, {})
    assert edited.read(tmp_path) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{}", b'{"edits": []}', b'{"edits": {"a.png": 5}}', b'{"edits": {"a.png": {"rotate": 5}}}',
        b'{"edits": {"a.png": {"crop": [0, 0, 2, 1]}}}', b"\xff\xfe", b'{"edits": {"a": {"crop": [NaN, 0, 1, 1]}}}',
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_list_is_one_sentence(place, content):
    path = place.folder / ".lora_trainer" / "edits.json"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(UserError, match="this list of rotated and cropped images is damaged") as error:
        listing.listing(place)
    assert str(path) in str(error.value) and str(error.value).endswith("; delete it.")


@pytest.fixture
def place(tmp_path):
    return Place(shop.write_images(tmp_path / "images", side=64))


def test_an_image_is_edited_step_by_step(place):
    listing.change_edit(place, "00.png", {"crop": [0.5, 0, 1, 1]})
    listing.change_edit(place, "00.png", {"rotate": 90})
    assert listing.listing(place).item("00.png").edit == Edit(90, (0, 0.5, 1, 1))
    listing.change_edit(place, "00.png", {"rotate": 180, "crop": [0, 0, 1, 1]})
    assert listing.listing(place).item("00.png").edit == Edit(180)
    listing.change_edit(place, "00.png", {"rotate": 0, "crop": None})
    assert listing.listing(place).item("00.png").edit == UNEDITED
    listing.change_edit(place, "00.png", {"crop": [0, 0, 0.25, 0.25]})
    with pytest.raises(UserError, match=r"crop: 16 x 15 pixels of 00\.png are too few; leave at least 16"):
        listing.change_edit(place, "00.png", {"crop": [0, 0, 0.25, 0.234]})
    for name in ("no.png", "../x.png", "metadata.csv", "a\0.png", ".lora_trainer/x.png"):
        with pytest.raises(NotFound):
            listing.change_edit(place, name, {"rotate": 90})
    (place.folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    with pytest.raises(UserError, match=r"broken\.png .*cannot be edited"):
        listing.change_edit(place, "broken.png", {"rotate": 90})
    assert set(edited.read(place.folder)) == {"00.png"}


def test_edits_at_the_same_time_are_all_kept(place):
    names = [f"{number:02d}.png" for number in range(6)]
    threads = [threading.Thread(target=listing.change_edit, args=(place, name, {"rotate": 90})) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert edited.read(place.folder) == dict.fromkeys(names, Edit(90))


def test_a_thumbnail_follows_the_edit(tmp_path):
    photos.photo(1, side=64).crop((0, 0, 64, 32)).save(tmp_path / "a.png")
    sizes = [
        Image.open(io.BytesIO(thumbnail.small(tmp_path / "a.png", edit=one))).size
        for one in (UNEDITED, Edit(90), Edit(0, (0, 0, 0.5, 1)), UNEDITED)
    ]
    assert sizes == [(64, 32), (32, 64), (32, 32), (64, 32)]
    assert Image.open(io.BytesIO(thumbnail.whole(tmp_path / "a.png", Edit(270)))).size == (32, 64)


def latent_files(room):
    return {path.name for path in (room / "out").rglob("latents/*.safetensors")}


def test_the_latents_of_an_image_without_an_edit_keep_their_name(room):
    """The formula is that of earlier versions, whose caches stay usable."""
    content = put(room / "in/a.png").read_bytes()
    write(room / "in", "other.png", 90)
    store, _, _ = build(room)
    sha256 = hashlib.sha256(content).hexdigest()
    key = [1, "abc", "sd1", "torch.float32", sha256, [64, 64], [64, 64], [[0, 0, False]], "none"]
    assert latent_files(room) == {f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()}.safetensors"}
    known = [[sha256, [""], 1, False]]
    assert store.content_hash == hashlib.sha256(json.dumps(known).encode()).hexdigest()


def test_latents_follow_every_edit_and_are_found_again(room):
    path = put(room / "in/a.png", size=(96, 64))
    original = build(room)[0]
    hashes, means = {original.content_hash}, [batch(original, (0, 0, 0)).mean]
    for rotate, crop in ((90, None), (0, CROP), (90, CROP)):
        write(room / "in", "a.png", rotate, crop)
        store, session, _ = build(room)
        assert len(session.batches) == 1
        (room / "really/in").mkdir(parents=True, exist_ok=True)
        by_pillow(Image.open(path), rotate, crop).save(room / "really/in/a.png")
        really, _, _ = build(room / "really", TinySession())
        assert torch.equal(batch(store, (0, 0, 0)).mean, batch(really, (0, 0, 0)).mean)
        hashes.add(store.content_hash)
        means.append(batch(store, (0, 0, 0)).mean)
    assert len(hashes) == len(means)
    edited.write(room / "in", {})
    again, session, _ = build(room)
    assert session.batches == [] and torch.equal(batch(again, (0, 0, 0)).mean, means[0])


def test_a_mask_gets_the_edit_of_its_image(room):
    values = np.random.default_rng(1).integers(0, 256, (64, 96), dtype=np.uint8)
    masks = room / "masks"
    masks.mkdir()
    image = Image.open(put(room / "in/a.png", size=(96, 64), mode="RGBA"))
    Image.fromarray(values).save(masks / "a.png")
    write(room / "in", "a.png", 90, (0, 0.25, 1, 0.75))
    (room / "really/in").mkdir(parents=True)
    (room / "really/masks").mkdir()
    by_pillow(image, 90, (0, 0.25, 1, 0.75)).save(room / "really/in/a.png")
    by_pillow(Image.fromarray(values), 90, (0, 0.25, 1, 0.75)).save(room / "really/masks/a.png")
    for kind in ("files", "alpha"):
        folders = [{"mask_dir": str(one / "masks")} if kind == "files" else {} for one in (room, room / "really")]
        ours = batch(build(room, masked_loss=kind, **folders[0])[0], (0, 0, 0))
        theirs = batch(build(room / "really", masked_loss=kind, **folders[1])[0], (0, 0, 0))
        assert torch.equal(ours.mask, theirs.mask) and torch.equal(ours.mean, theirs.mean)
        assert ours.mask.std() > 0


def test_size_conditioning_is_that_of_the_edited_image(room):
    put(room / "in/a.png", size=(96, 64))
    write(room / "in", "a.png", 90)
    store, _, _ = build(room, TinySession("sdxl"))
    assert batch(store, (0, 0, 0)).time_ids[0, :2].tolist() == [96, 64]


def test_a_run_on_an_edited_image_gives_what_a_run_on_the_cropped_file_gives(tmp_path, checkpoint):
    loras = []
    for kind in ("edited", "cropped"):
        folder = shop.write_images(tmp_path / kind / "images", count=3, side=48)
        for name, rotate, crop in (("00.png", 90, (0.25, 0, 0.75, 1)), ("02.png", 270, None)):
            if kind == "edited":
                before = (folder / name).read_bytes()
                write(folder, name, rotate, crop)
            else:
                by_pillow(Image.open(folder / name), rotate, crop).save(folder / name)
        config = shop.make_config(folder, checkpoint, tmp_path / kind / "out", epochs=1)
        loras.append(load_file(run.train(config, StandaloneHost()).lora))
        if kind == "edited":
            assert (folder / "02.png").read_bytes() == before
    assert loras[0].keys() == loras[1].keys()
    assert all(torch.equal(tensor, loras[1][key]) for key, tensor in loras[0].items())


def test_a_check_looks_at_the_edited_image_and_only_at_that_again(tmp_path, monkeypatch):
    photos.photo(1, side=800).save(tmp_path / "a.png")
    photos.photo(2, side=800).save(tmp_path / "b.png")
    place = Place(tmp_path)

    def grades():
        check.check(tmp_path, None, 512, "", lambda *_: None)
        found = listing.listing(place)
        return [(one.name, one.verdict.grade, [reason.code for reason in one.verdict.reasons]) for one in found.items]

    assert [grade for _, grade, _ in grades()] == ["good", "good"]
    write(tmp_path, "a.png", 0, (0, 0, 0.3, 0.3))
    assert listing.listing(place).item("a.png").verdict is None
    measured = []
    small = decode.small
    monkeypatch.setattr(decode, "small", lambda path, *rest: measured.append(path.name) or small(path, *rest))
    assert grades()[0][1:] == ("bad", ["too_small"]) and measured == ["a.png"]


def test_of_an_image_and_its_rotation_by_hand_one_is_a_copy(tmp_path):
    photos.photo(1, side=640).save(tmp_path / "a.png")
    photos.photo(1, side=640).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "b.png")
    write(tmp_path, "b.png", 90)
    report = check.check(tmp_path, None, 512, "", lambda *_: None)
    assert [reason.text for one in report.verdicts for reason in one.reasons if reason.code == "duplicate"] == [
        "looks the same as a.png"
    ]


def test_prepared_copies_are_edited(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    image = photos.photo(1, side=512)
    image.save(folder / "a.png")
    arguments = ["--input", str(folder), "--output", str(tmp_path / "out"), "--resolution", "256", "--crop", "none"]
    assert prepare_dataset.main(arguments) == 0
    write(folder, "a.png", 90, (0, 0, 0.5, 0.5))
    assert prepare_dataset.main(arguments) == 0
    copy = Image.open(tmp_path / "out" / "a.png")
    wanted = by_pillow(image, 90, (0, 0, 0.5, 0.5)).resize((256, 256), Image.Resampling.LANCZOS)
    assert copy.tobytes() == wanted.tobytes()
    assert edited.read(tmp_path / "out") == {} and excluded.read(tmp_path / "out") == frozenset()


def test_a_captioner_sees_the_edited_image(tmp_path):
    seen = []

    class Looking(Captioner):
        name, looks, batch = "looking", True, 1

        def caption(self, images):
            seen.extend([one.image.size for one in images])
            return [Fields(subject="x") for _ in images]

    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    write(tmp_path, "a.png", 90, (0, 0, 1, 0.5))
    label(tmp_path, CaptionStore.open(tmp_path), Looking())
    assert seen == [(40, 30)]
