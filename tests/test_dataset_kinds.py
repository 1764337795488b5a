"""Whatever looks like an image is read, or reported with what to do about it."""

import importlib.util
import io
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, features
from PIL.PngImagePlugin import PngInfo

from lora_scripts_ext.images import decode, folder, kinds, plugins

RED = (200, 30, 40)
links = pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")


def content(kind="PNG", size=(24, 16), **options):
    packed = io.BytesIO()
    Image.new("RGB", size, RED).save(packed, kind, **options)
    return packed.getvalue()


def scan(room):
    names, skipped = folder.scan(room, "train_data_dir")
    return names, {one.name: one.reason for one in skipped}


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(png, kind, data, at_end=False):
    """A PNG with one more chunk, after its header or behind its pixels."""
    offset = len(png) - 12 if at_end else 33
    return png[:offset] + chunk(kind, data) + png[offset:]


def near(pixel, expected=RED):
    return np.abs(np.subtract(pixel, expected)).max() <= 6


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.JPG", "JPEG"), ("a.jfif", "JPEG"), ("a.jpe", "JPEG"), ("a.PJPEG", "JPEG"), ("a.pjp", "JPEG"),
        ("a.apng", "PNG"), ("a.dib", "DIB"), ("a.ppm", "PPM"), ("a.WebP", "WEBP"), ("a.TIF", "TIFF"), ("a.gif", "GIF"),
        ("a.mpo", "MPO"),
    ],
)  # fmt: skip
def test_usual_kinds_are_read(tmp_path, name, kind):
    (tmp_path / name).write_bytes(content(kind))
    assert scan(tmp_path) == ([name], {})
    assert decode.size(tmp_path / name) == (24, 16)
    assert near(decode.decode((tmp_path / name).read_bytes()).pixels.getpixel((3, 3)))


@pytest.mark.skipif(not features.check("jpg_2000"), reason="this Pillow is built without OpenJPEG")
@pytest.mark.parametrize("name", ["a.jp2", "a.j2k"])
def test_jpeg_2000_is_read(tmp_path, name):
    Image.new("RGB", (24, 16), RED).save(tmp_path / name)
    assert scan(tmp_path) == ([name], {})
    assert near(decode.decode((tmp_path / name).read_bytes()).pixels.getpixel((3, 3)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_content_counts_not_the_extension(tmp_path, kind):
    (tmp_path / "wrong.jpg").write_bytes(content(kind))
    (tmp_path / "none").write_bytes(content(kind))
    (tmp_path / "odd.img").write_bytes(content(kind))
    names, skipped = scan(tmp_path)
    assert names == ["none", "wrong.jpg"]
    assert list(skipped) == ["odd.img"] and "rename it" in skipped["odd.img"]
    assert [decode.size(tmp_path / name) for name in names] == [(24, 16)] * 2


def test_captions_are_never_mistaken_for_images(tmp_path):
    (tmp_path / "a.txt").write_text("BMW M3, red")
    (tmp_path / "README").write_text("Images of shoes")
    (tmp_path / "b.safetensors").write_bytes(bytes(64))
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(40))
    assert scan(tmp_path) == ([], {})


@pytest.mark.parametrize(
    ("extension", "remedy"),
    [
        *((raw, "export it as JPEG or TIFF") for raw in ("CR2", "cr3", "NEF", "arw", "dng", "orf", "rw2", "raf")),
        ("psd", "export it as PNG or JPEG"), ("svg", "export it as PNG"), ("tga", "convert it"), ("ico", "convert it"),
        ("jpg.lnk", "copy the image itself"),
    ],
)  # fmt: skip
def test_kinds_that_are_not_read_are_reported_with_a_remedy(tmp_path, extension, remedy):
    (tmp_path / f"a.{extension}").write_bytes(b"anything")
    names, skipped = scan(tmp_path)
    assert names == [] and remedy in skipped[f"a.{extension}"]


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"II*\0\x10\0\0\0CR\x02\0", "camera raw"),
        (b"FUJIFILMCCD-RAW 0201", "camera raw"),
        (b"8BPS\0\x01", "drawing program"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x">', "vector drawing"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "vector drawing"),
        (b"book\0\0\0\0mark\0\0\0\0", "macOS alias"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_what_hides_behind_an_extension_is_reported(tmp_path, head, reason):
    for name in ("a.jpg", "without", "a.unknown"):
        (tmp_path / name).write_bytes(head + bytes(80))
    names, skipped = scan(tmp_path)
    assert names == ["a.jpg"]
    assert reason in skipped["without"] and reason in skipped["a.unknown"]
    with pytest.raises(decode.Unreadable, match=reason):
        decode.size(tmp_path / "a.jpg")
    with pytest.raises(decode.Unreadable, match=reason):
        decode.decode((tmp_path / "a.jpg").read_bytes())


def test_what_systems_leave_behind_is_passed_over(tmp_path):
    leftovers = (
        "__MACOSX/a.jpg",
        "__MACOSX/._a.jpg",
        "._a.jpg",
        ".thumbnails/a.png",
        "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
    )
    for name in (*leftovers, "Thumbs.db", ".DS_Store", "a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content("JPEG"))
    (tmp_path / ".b.heic.icloud").write_bytes(b"bplist00")
    names, skipped = scan(tmp_path)
    assert names == ["a.jpg"]
    assert list(skipped) == [".b.heic.icloud"] and "download it" in skipped[".b.heic.icloud"]


@links
def test_links_are_followed_inside_and_reported_outside(tmp_path):
    home = tmp_path / "in"
    (home / "sub").mkdir(parents=True)
    for path in (home / "sub/a.png", tmp_path / "away.png"):
        path.write_bytes(content())
    (home / "inside.png").symlink_to("sub/a.png")
    (home / "leaves.png").symlink_to(tmp_path / "away.png")
    (home / "leaves").symlink_to(tmp_path / "away.png")
    (home / "gone.png").symlink_to("nothing.png")
    (home / "gone").symlink_to("nothing.png")
    (home / "loop.png").symlink_to("loop.png")
    (home / "notes").symlink_to(tmp_path / "notes.txt")
    names, skipped = scan(home)
    assert names == ["inside.png", "sub/a.png"]
    assert {name: reason.split(";")[0] for name, reason in skipped.items()} == {
        "leaves.png": "is a link that leaves train_data_dir",
        "leaves": "is a link that leaves train_data_dir",
        "gone.png": "is a link to a file that is not there",
        "gone": "is a link to a file that is not there",
        "loop.png": "is a link to a file that is not there",
    }
    assert all("copy the" in reason for reason in skipped.values())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file systems take no such names")
def test_names_that_are_not_text_are_reported(tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")).write_bytes(content())
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("not an image")
    (tmp_path / "红鞋.png").write_bytes(content())
    names, skipped = scan(tmp_path)
    assert names == ["红鞋.png"]
    assert list(skipped) == ["caf\\udce9.png"] and "rename it" in skipped["caf\\udce9.png"]


def test_a_file_where_a_folder_is_needed_is_refused(tmp_path):
    (tmp_path / "a.zip").touch()
    with pytest.raises(Exception, match="is a file; name the folder"):
        folder.scan(tmp_path / "a.zip", "train_data_dir")


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"tEXt"])
def test_a_png_with_megabytes_of_text_is_read(tmp_path, kind, at_end):
    text = b"workflow " * 400_000
    head = {b"zTXt": b"workflow\0\0", b"iTXt": b"workflow\0\1\0\0\0", b"tEXt": b"workflow\0"}[kind]
    png = content()
    for _ in range(20):
        png = with_chunk(png, kind, head + (text if kind == b"tEXt" else zlib.compress(text)), at_end)
    (tmp_path / "a.png").write_bytes(png)
    assert decode.size(tmp_path / "a.png") == (24, 16)
    assert decode.decode(png).pixels.getpixel((3, 3)) == RED
    assert decode.small(tmp_path / "a.png", 12).size == (12, 8)


def test_text_and_transparency_of_a_png_do_not_mix():
    info = PngInfo()
    info.add_itxt("prompt", "红鞋" * 5000, zip=True)
    packed = io.BytesIO()
    Image.new("RGBA", (4, 4), (*RED, 0)).save(packed, "PNG", pnginfo=info)
    decoded = decode.decode(packed.getvalue())
    assert decoded.pixels.getpixel((1, 1)) == (255, 255, 255) and decoded.alpha.getextrema() == (0, 0)


def test_a_png_with_a_huge_profile_is_read_and_a_usable_one_still_counts():
    swapped = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", swapped[128:132])[0]
    tags = {bytes(swapped[offset : offset + 4]): offset for offset in range(132, 132 + 12 * count, 12)}
    swapped[tags[b"rXYZ"] : tags[b"rXYZ"] + 4], swapped[tags[b"bXYZ"] : tags[b"bXYZ"] + 4] = b"bXYZ", b"rXYZ"
    swapped = bytes(swapped).replace(b"s\0R\0G\0B", b"t\0e\0s\0t").replace(b"sRGB", b"test")
    expected = decode.decode(content(icc_profile=swapped)).pixels.getpixel((3, 3))
    assert not near(expected)  # red and blue are swapped by the profile
    padded = bytearray(swapped + os.urandom(3 << 20))  # larger than what Pillow inflates
    padded[0:4] = struct.pack(">I", len(padded))
    huge = with_chunk(content(), b"iCCP", b"test\0\0" + zlib.compress(bytes(padded)))
    assert decode.decode(huge).pixels.getpixel((3, 3)) == expected


@pytest.mark.parametrize("profile", [b"", b"name", b"name\0\0not zlib", b"name\0\0" + zlib.compress(bytes(80 << 20))])
def test_a_png_with_a_damaged_or_absurd_profile_is_read_as_it_is(profile):
    assert decode.decode(with_chunk(content(), b"iCCP", profile)).pixels.getpixel((3, 3)) == RED


def test_a_decompression_bomb_is_still_refused(tmp_path):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    png = content()
    bomb = png[:8] + chunk(b"IHDR", header) + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2 << 20))) + png[33:]
    (tmp_path / "a.png").write_bytes(bomb)
    with pytest.raises(decode.Unreadable, match="megapixels"):
        decode.size(tmp_path / "a.png")
    with pytest.raises(decode.Unreadable, match="megapixels"):
        decode.decode(bomb)


@pytest.mark.parametrize(("kind", "size"), [("GIF", (24, 16)), ("WEBP", (24, 16)), ("PNG", (24, 16))])
def test_of_an_animation_the_first_frame_is_used(kind, size):
    packed = io.BytesIO()
    frames = [Image.new("RGB", size, colour) for colour in (RED, "green", "blue")]
    frames[0].save(packed, kind, save_all=True, append_images=frames[1:])
    assert near(decode.decode(packed.getvalue()).pixels.getpixel((3, 3)))


def heic(size=(24, 16), **options):
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs pillow-heif")
    packed = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", size, RED)).save(packed, **options)
    return packed.getvalue()


def test_heic_is_read_where_its_package_is_installed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    (tmp_path / "a.HEIC").write_bytes(heic((64, 32), exif=exif.tobytes()))
    (tmp_path / "b.jpg").write_bytes(heic((64, 32)))  # as some phones and messengers name them
    assert scan(tmp_path) == (["a.HEIC", "b.jpg"], {})
    assert [decode.size(tmp_path / name) for name in ("a.HEIC", "b.jpg")] == [(32, 64), (64, 32)]
    for name in ("a.HEIC", "b.jpg"):
        decoded = decode.decode((tmp_path / name).read_bytes()).pixels
        assert decoded.size == decode.size(tmp_path / name) and near(decoded.getpixel((3, 3)))


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow does not read AVIF")
def test_avif_is_read(tmp_path):
    (tmp_path / "a.avif").write_bytes(content("AVIF"))
    assert scan(tmp_path) == (["a.avif"], {})
    assert near(decode.decode((tmp_path / "a.avif").read_bytes()).pixels.getpixel((3, 3)))


@pytest.mark.parametrize(
    ("head", "package"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "pillow-heif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "pillow-heif"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "pillow-avif-plugin"),
        (b"\xff\x0a\xfa\x7f", "pillow-jxl-plugin"),
    ],
)
def test_without_its_package_an_image_is_reported_with_what_to_install(tmp_path, head, package, monkeypatch):
    monkeypatch.setattr(plugins, "bring", lambda kind: None)
    monkeypatch.setattr(Image, "OPEN", {name: how for name, how in Image.OPEN.items() if name in ("PNG", "JPEG")})
    (tmp_path / "a.heic").write_bytes(head + bytes(100))
    assert scan(tmp_path)[0] == ["a.heic"]
    with pytest.raises(decode.Unreadable, match=f"pip install {package}, or convert it to JPEG"):
        decode.size(tmp_path / "a.heic")


def test_a_missing_package_is_no_error():
    missing = [kind for kind, (module, _) in plugins._PLUGINS.items() if importlib.util.find_spec(module) is None]
    for kind in [*missing, None, "PNG"]:
        assert plugins.bring.__wrapped__(kind) is None


def test_every_refusal_names_the_remedy():
    assert all("; " in reason for reason in kinds._NOT_READ.values())
    assert not kinds.EXTENSIONS & kinds._NOT_READ.keys()
