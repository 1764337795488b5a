"""Files that are sent in parts: nothing is lost between parts, and nothing hostile gets through."""

import hashlib
import time

import pytest

from lora_scripts_ext.errors import NotFound, UserError
from lora_scripts_ext.library import uploads as library_uploads
from lora_scripts_ext.library.database import Database
from lora_scripts_ext.library.models import Models
from lora_scripts_ext.library.uploads import Busy, Limits, TooLarge, Uploads, WrongOffset

CONTENT = bytes(range(256)) * 8


@pytest.fixture
def database(tmp_path):
    return Database(tmp_path)


@pytest.fixture
def model(database):
    return Models(database).create("brand", "car").id


@pytest.fixture
def uploads(database):
    return Uploads(database, Limits(file=1 << 20, open=2 << 20, free=0))


def send(uploads, upload, content, offset):
    with uploads.part(upload, offset) as part:
        part.write(content)


def test_parts_make_the_file_also_after_a_broken_connection(uploads, model):
    upload = uploads.start(model, "a.png", len(CONTENT), hashlib.sha256(CONTENT).hexdigest().upper())
    send(uploads, upload.id, CONTENT[:1000], 0)
    with pytest.raises(ConnectionError), uploads.part(upload.id, 1000) as part:
        part.write(CONTENT[1000:1500])
        raise ConnectionError
    assert uploads.get(upload.id).received == 1500
    with pytest.raises(WrongOffset, match="1500") as error:
        send(uploads, upload.id, CONTENT[1000:], 1000)
    assert error.value.received == 1500
    with pytest.raises(WrongOffset, match="send the rest"), uploads.complete(upload.id):
        pass
    send(uploads, upload.id, CONTENT[1500:], 1500)
    with pytest.raises(ZeroDivisionError), uploads.complete(upload.id):
        raise ZeroDivisionError
    with uploads.complete(upload.id) as (whole, path):
        assert (whole.name, path.name, path.read_bytes()) == ("a.png", "a.png", CONTENT)
    assert not path.parent.exists()
    with pytest.raises(NotFound):
        uploads.get(upload.id)


def test_more_than_was_announced_is_refused(uploads, model):
    upload = uploads.start(model, "a.png", 10)
    with pytest.raises(TooLarge):
        send(uploads, upload.id, b"x" * 11, 0)
    assert uploads.get(upload.id).received == 0


def test_another_file_than_was_announced_is_sent_again(uploads, model):
    upload = uploads.start(model, "a.png", 4, hashlib.sha256(b"good").hexdigest())
    send(uploads, upload.id, b"evil", 0)
    with pytest.raises(UserError, match="sha256"), uploads.complete(upload.id):
        pass
    send(uploads, upload.id, b"good", 0)
    with uploads.complete(upload.id):
        pass


def test_one_request_at_a_time_writes(uploads, model):
    upload = uploads.start(model, "a.png", 10)
    with uploads.part(upload.id, 0) as part:
        part.write(b"12345")
        with pytest.raises(Busy), uploads.part(upload.id, 5):
            pass
        with pytest.raises(Busy), uploads.complete(upload.id):
            pass
    assert uploads.get(upload.id).received == 5


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("../../etc/passwd", "passwd"), ("C:\\x\\b.png", "b.png"), ("con.png", "_con.png"), ("a:b?.png", "a_b_.png"),
        (".htaccess", "htaccess"), ("...png", "png"), ("a\0\n.png", "a__.png"), ("红色 鞋.png", "红色 鞋.png"),
        ("a. ", "a"),
    ],
)  # fmt: skip
def test_hostile_names_become_plain_ones(uploads, model, name, plain):
    upload = uploads.start(model, name, 1)
    assert upload.name == plain
    assert uploads.path(upload).parent.parent == uploads._folder


@pytest.mark.parametrize("name", ["", "/", "..", ". .", "a" * 5000])
def test_what_is_no_name_is_refused(uploads, model, name):
    with pytest.raises(UserError, match="name"):
        uploads.start(model, name, 1)


def test_names_of_any_length_fit(uploads, model):
    name = uploads.start(model, "é" * 400 + ".png", 1).name
    assert name.endswith(".png") and len(name.encode()) <= 200


def test_limits(database, uploads, model, monkeypatch):
    for size in (0, -1):
        with pytest.raises(UserError, match="empty"):
            uploads.start(model, "a.png", size)
    with pytest.raises(TooLarge, match="split"):
        uploads.start(model, "a.zip", (1 << 20) + 1)
    first = uploads.start(model, "a.zip", 1 << 20)
    uploads.start(model, "a.zip", 1 << 20)
    with pytest.raises(TooLarge, match="at a time"):
        uploads.start(model, "a.zip", 1)
    uploads.remove(first.id)
    uploads.start(model, "a.zip", 1)
    full = Uploads(database, Limits(free=1 << 60))
    with pytest.raises(TooLarge, match="free some space"):
        full.start(model, "a.zip", 1)
    with pytest.raises(TooLarge), full.whole("a.zip", 1):
        pass
    with pytest.raises(NotFound):
        uploads.start("no", "a.zip", 1)
    with pytest.raises(UserError, match="sha256"):
        uploads.start(model, "a.zip", 1, "abc")


def test_what_nobody_goes_on_with_is_deleted_after_a_day(uploads, model, monkeypatch):
    old, stray = uploads.start(model, "a.png", 10), uploads._folder / "stray"
    stray.mkdir()
    monkeypatch.setattr(library_uploads, "_now", lambda: time.time() + 12 * 3600)
    fresh = uploads.start(model, "a.png", 10)
    monkeypatch.setattr(library_uploads, "_now", lambda: time.time() + 30 * 3600)
    uploads.sweep()
    assert [one.id for one in uploads.of(model)] == [fresh.id]
    assert [path.name for path in uploads._folder.iterdir()] == [fresh.id]
    with pytest.raises(NotFound):
        uploads.get(old.id)


def test_a_file_in_one_piece_leaves_nothing_behind(uploads):
    with uploads.whole("x/a.png", 4) as (path, part):
        part.write(b"good")
        assert path.read_bytes() == b"good"
        with pytest.raises(TooLarge):
            part.write(b"!")
    assert not path.parent.exists()
