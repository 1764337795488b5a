"""Every kind of image file comes out as the pixels that were put in."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from lora_scripts_ext.images import decode


def saved(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(content):
    return np.asarray(decode.decode(content).pixels).astype(int)


def halves(mode, left, right, size=(8, 4)):
    image = Image.new(mode, size, left)
    image.paste(right, (size[0] // 2, 0, size[0], size[1]))
    return image


def test_alpha_is_laid_on_white():
    image = Image.new("RGBA", (2, 1))
    image.putpixel((0, 0), (200, 0, 0, 255))
    image.putpixel((1, 0), (200, 0, 0, 51))  # a fifth: 0.2 * 200 + 0.8 * 255 = 244, 0.8 * 255 = 204
    decoded = decode.decode(saved(image))
    assert decoded.pixels.mode == "RGB"
    assert np.asarray(decoded.pixels).tolist() == [[[200, 0, 0], [244, 204, 204]]]
    assert np.asarray(decoded.alpha).tolist() == [[255, 51]]


def test_opaque_image_has_no_alpha():
    assert decode.decode(saved(Image.new("RGB", (3, 3), "red"))).alpha is None


def test_transparent_parts_of_a_mask_do_not_count():
    mask = decode.decode_mask(saved(halves("LA", (255, 255), (255, 0))))
    assert mask.mode == "L" and np.asarray(mask)[0, [0, 7]].tolist() == [255, 0]


def test_palette_with_transparency():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    decoded = decode.decode(saved(image, transparency=0))
    assert np.asarray(decoded.pixels).tolist() == [[[255, 255, 255], [40, 50, 60]]]
    assert np.asarray(decoded.alpha).tolist() == [[0, 255]]


def test_colour_key_transparency_of_rgb_and_grey():
    rgb = halves("RGB", (1, 2, 3), (9, 9, 9))
    assert pixels(saved(rgb, transparency=(1, 2, 3)))[0, [0, 7]].tolist() == [[255] * 3, [9] * 3]
    grey = halves("L", 7, 90)
    assert pixels(saved(grey, transparency=7))[0, [0, 7]].tolist() == [[255] * 3, [90] * 3]


@pytest.mark.parametrize(("mode", "left", "right"), [("L", 40, 200), ("1", 0, 1), ("P", 3, 250)])
def test_grey_bilevel_and_palette(mode, left, right):
    image = halves(mode, left, right)
    if mode == "P":
        image.putpalette([value for grey in range(256) for value in (grey, grey, grey)])
    expected = {"L": (40, 200), "1": (0, 255), "P": (3, 250)}[mode]
    assert pixels(saved(image))[0, [0, 7]].tolist() == [[expected[0]] * 3, [expected[1]] * 3]


def test_grey_with_alpha():
    image = halves("LA", (100, 255), (100, 0))
    decoded = decode.decode(saved(image))
    assert np.asarray(decoded.pixels)[0, [0, 7], 0].tolist() == [100, 255]
    assert np.asarray(decoded.alpha)[0, [0, 7]].tolist() == [255, 0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind):
    values = np.array([[0, 257, 25700, 65535]], dtype=np.uint16)
    assert pixels(saved(Image.fromarray(values), kind))[0, :, 0].tolist() == [0, 1, 100, 255]


def test_dark_sixteen_bit_grey_stays_dark():
    values = np.full((2, 2), 514, dtype=np.uint16)
    assert pixels(saved(Image.fromarray(values)))[0, 0].tolist() == [2, 2, 2]


def test_float_and_32_bit_tiff():
    unit = Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))
    assert pixels(saved(unit, "TIFF"))[0, :, 0].tolist() == [0, 128, 255]
    deep = Image.fromarray(np.array([[0, 2**30, 2**31 - 1]], dtype=np.int32))
    assert pixels(saved(deep, "TIFF"))[0, :, 0].tolist() == [0, 128, 255]


def test_cmyk_jpeg():
    assert np.abs(pixels(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")) - [255, 0, 0]).max() < 12


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(kind):
    first, second = Image.new("RGB", (8, 8), (0, 0, 255)), Image.new("RGB", (8, 8), (255, 0, 0))
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(first, kind, save_all=True, append_images=[second], **options)
    assert Image.open(io.BytesIO(content)).n_frames == 2
    assert pixels(content)[4, 4].tolist() == [0, 0, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_rotation(tmp_path, kind, orientation):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = 255  # white top left, seen upright
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),  # to be turned clockwise, so stored counter-clockwise
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored))
    options = {"TIFF": {"tiffinfo": {274: orientation}}, "WEBP": {"lossless": True, "exif": exif}}
    path = tmp_path / "turned"
    path.write_bytes(saved(image, kind, **options.get(kind, {"exif": exif})))
    assert decode.size(path) == (32, 16)
    decoded = decode.decode(path.read_bytes()).pixels
    assert decoded.size == (32, 16)
    assert np.abs(np.asarray(decoded).astype(int) - upright).max() < 16


def test_icc_profile_is_converted_to_srgb():
    # A profile that swaps red and blue, unmistakable: sRGB with its rXYZ and bXYZ tag entries exchanged.
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = data.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")
    swapped = swapped.replace(b"s\0R\0G\0B", b"t\0e\0s\0t").replace(b"sRGB b", b"test b")
    content = saved(Image.new("RGB", (4, 4), (255, 0, 0)), icc_profile=swapped)
    red, green, blue = pixels(content)[0, 0]
    assert blue > 240 and red < 15 and green < 15


def test_broken_icc_profile_is_no_obstacle():
    assert pixels(saved(Image.new("RGB", (4, 4), (9, 8, 7)), icc_profile=b"nonsense"))[0, 0].tolist() == [9, 8, 7]


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif():
    assert np.abs(pixels(saved(Image.new("RGB", (16, 16), (0, 128, 0)), "AVIF")) - [0, 128, 0]).max() < 12


def test_truncated_and_foreign_bytes_are_unreadable():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF"):
        content = saved(noise, kind)
        with pytest.raises(decode.Unreadable):
            decode.decode(content[: len(content) // 2])
    with pytest.raises(decode.Unreadable, match="not in a format"):
        decode.decode(b"<html>404</html>")


@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_never_raise_anything_else():
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"):
        content = bytearray(saved(image, kind))
        for _ in range(60):
            damaged = bytearray(content)
            for offset in rng.integers(0, min(len(damaged), 200), 4):
                damaged[offset] = rng.integers(256)
            try:
                assert decode.decode(bytes(damaged)).pixels.mode == "RGB"
            except decode.Unreadable as error:
                assert str(error)


def test_empty_and_missing_file(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(decode.Unreadable, match="is empty"):
        decode.size(tmp_path / "a.png")
    with pytest.raises(decode.Unreadable, match="cannot be read"):
        decode.size(tmp_path / "b.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("side", "lifted"), [(13_350, False), (30_000, False), (30_000, True)])
def test_decompression_bomb_is_refused_by_its_header(tmp_path, monkeypatch, side, lifted):
    """Below Pillow's own bound, above it, and where a host has lifted Pillow's."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    if lifted:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(decode.Unreadable, match="more than 178 megapixels"):
        decode.size(path)
