"""The images of a folder for a page: listed, counted, excluded; captions changed at once and undone; thumbnails."""

import io
import threading

import pytest
from PIL import Image

from lora_scripts_ext.captions import editing, history
from lora_scripts_ext.captions.fields import Fields
from lora_scripts_ext.captions.history import Change, Place
from lora_scripts_ext.captions.store import CaptionStore
from lora_scripts_ext.errors import NotFound
from lora_scripts_ext.images import decode, folder, thumbnail
from lora_scripts_ext.preparation import check, listing

from . import photos, shop


@pytest.fixture
def place(tmp_path):
    return Place(shop.write_images(tmp_path / "images"))


def listed(place, **options):
    return [item.name for item in listing.listing(place).shown(**options)]


def test_the_listing_is_current_whatever_changes_the_folder(place):
    counts = listing.listing(place).counts()
    assert (counts["images"], counts["captioned"], counts["unchecked"]) == (6, 6, 6)
    assert listing.listing(place) is listing.listing(place)
    Image.new("RGB", (8, 8)).save(place.folder / "new.png")
    assert listing.listing(place).counts()["without_caption"] == 1
    (place.folder / "new.txt").write_text("a new one", encoding="utf-8")
    assert listing.listing(place).item("new.png").caption.prompt == "a new one"
    (place.folder / "new.png").unlink()
    assert listing.listing(place).counts()["images"] == 6
    (place.folder / "sub").mkdir()
    (place.folder / "a.psd").write_bytes(b"8BPS")
    assert [one.name for one in listing.listing(place).skipped] == ["a.psd"]


def test_images_are_excluded_and_taken_in_again(place):
    listing.exclude(place, ["01.png", "02.png"], True)
    listing.exclude(place, ["02.png"], False)
    assert listed(place, show="excluded") == ["01.png"]
    assert listing.listing(place).counts()["included"] == 5
    with pytest.raises(NotFound, match="no image '9"):
        listing.exclude(place, ["00.png", "9.png"], True)
    assert listed(place, show="excluded") == ["01.png"]


def test_exclusions_at_the_same_time_are_all_kept(place):
    names = [f"{number:02d}.png" for number in range(6)]
    threads = [threading.Thread(target=listing.exclude, args=(place, [name], True)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert listed(place, show="excluded") == names


def test_search_finds_names_captions_and_tags(place):
    assert listed(place, search="LAMP") == ["01.png"]
    assert listed(place, search="03.png") == ["03.png"]
    assert listed(place, search="tag:soft light") == [f"{number:02d}.png" for number in range(6)]
    assert listing.listing(place).words()[0] == ("on a table", 6)


def test_verdicts_are_those_of_the_last_check_and_new_images_have_none(tmp_path):
    place = Place(tmp_path)
    for number in range(3):
        photos.photo(number).save(tmp_path / f"{number}.png")
    photos.photo(0, side=320).save(tmp_path / "small.png")
    Image.new("RGB", (640, 640), "black").save(tmp_path / "black.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    assert listing.listing(place).last is None
    report = check.check(tmp_path, None, 512, "", lambda *_: None)
    now = listing.listing(place)
    assert {item.name: item.verdict.grade for item in now.items} == {one.name: one.grade for one in report.verdicts}
    assert now.last.report.verdicts == report.verdicts
    assert now.last.resolution == 512
    listing.exclude(place, check.bad(report), True)
    photos.photo(7).save(tmp_path / "new.png")
    check.check(tmp_path, None, 512, "", lambda *_: None)
    photos.photo(8).save(tmp_path / "newer.png")
    after = listing.listing(place)
    assert after.item("newer.png").verdict is None
    assert after.item("new.png").verdict is not None
    # What is wrong with an excluded image stays known, though it is not looked at any more.
    assert after.item("black.png").verdict == now.item("black.png").verdict
    assert after.item("small.png").verdict.grade == "bad"
    assert {one.name for one in after.last.report.verdicts}.isdisjoint(check.bad(report))


def test_a_change_of_many_captions_is_shown_then_made_then_undone(place):
    def edit(rows):
        return editing.replaced(rows, "table", "desk")

    before = [item.caption for item in listing.listing(place).items]
    shown = history.preview(place, edit, ["00.png", "01.png"])
    assert shown[0] == Change("00.png", "a phone, on a table, soft light", "a phone, on a desk, soft light")
    assert [item.caption for item in listing.listing(place).items] == before
    assert history.apply(place, edit, "table to desk", ["00.png", "01.png"]) == shown
    assert listing.listing(place).counts()["captioned"] == 6
    history.apply(place, lambda rows: editing.with_tag(rows, "new"), "add new")
    assert history.undoable(place.folder) == ["add new", "table to desk"]
    assert len(history.undo(place).changes) == 6
    undone = history.undo(place)
    assert (undone.what, undone.kept) == ("table to desk", [])
    assert [item.caption for item in listing.listing(place).items] == before
    assert history.undo(place) is None


def test_undo_leaves_what_was_changed_since_and_brings_fields_back(place):
    store = place.open()
    store.put("00.png", "shoe, red", Fields("shoe", ("red",)), "blip")
    store.save()
    history.apply(place, lambda rows: editing.without_tag(rows, "red"), "remove red", ["00.png"])
    history.apply(place, lambda rows: editing.with_tag(rows, "blue"), "add blue", ["00.png", "01.png"])
    store = place.open()
    assert store.entry("00.png").prompt == "shoe, blue"
    store.put("01.png", "mine")
    store.save()
    assert history.undo(place).kept == ["01.png"]
    history.undo(place)
    entry = CaptionStore.open(place.folder).entry("00.png")
    assert (entry.prompt, entry.fields, entry.by) == ("shoe, red", Fields("shoe", ("red",)), "blip")


def test_a_change_of_nothing_leaves_nothing_to_undo(place):
    assert history.apply(place, lambda rows: editing.replaced(rows, "zebra", "horse"), "x") == []
    assert history.undoable(place.folder) == []
    with pytest.raises(NotFound):
        history.apply(place, lambda rows: rows, "x", ["no.png"])


def test_thumbnails_are_small_upright_and_remembered_within_bounds(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    photos.photo(1, side=400).resize((400, 200)).save(path, exif=exif)
    with Image.open(io.BytesIO(thumbnail.small(path, 150))) as small:
        assert (small.format, small.size) == ("JPEG", (80, 160))
    with Image.open(io.BytesIO(thumbnail.whole(path))) as whole:
        assert (whole.format, whole.size) == ("PNG", (200, 400))
    assert thumbnail.small(path, 150) is thumbnail.small(path, 160)
    Image.new("RGB", (50, 50)).save(path)
    with Image.open(io.BytesIO(thumbnail.small(path, 9999))) as small:
        assert small.size == (50, 50)
    path.write_bytes(b"\xff\xd8\xff nothing")
    with pytest.raises(decode.Unreadable):
        thumbnail.small(path)
    remembered = thumbnail._Remembered(100)
    for number in range(50):
        remembered.put(number, b"x" * 30)
    assert [number for number in range(50) if remembered.get(number)] == [47, 48, 49]


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "sub/../../secret.png", ".hidden.png", "", "a\0.png", "link.png", "sub",
             ".lora_trainer/left_out.json", "metadata.csv", "no.png", "sub/.x/a.png", "x" * 5000]
)  # fmt: skip
def test_only_images_of_the_folder_are_found_by_name(place, tmp_path, name):
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (place.folder / "sub").mkdir()
    (place.folder / "link.png").symlink_to(tmp_path / "secret.png")
    Image.new("RGB", (4, 4)).save(place.folder / "sub" / "ä b.png")
    assert folder.inside(place.folder, name) is None
    assert folder.inside(place.folder, "sub/ä b.png") == place.folder / "sub" / "ä b.png"
