"""The marks in a file, read back by this test's own parser, by Pillow, and by exiftool where it is installed."""

import importlib.util
import json
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ElementTree
import zlib
from io import BytesIO

import pytest
from PIL import Image, JpegImagePlugin, PngImagePlugin

from lora_scripts_ext import marks
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.marks import credit_code

FORMATS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
PRODUCER = "001191330100799655058B00001"
LABEL = marks.Label("trainedAlgorithmicMedia", PRODUCER, "sku-1-42")
FIELDS = {
    "Label": "1", "ContentProducer": PRODUCER, "ProduceID": "sku-1-42", "ReservedCode1": "",
    "ContentPropagator": PRODUCER, "PropagateID": "sku-1-42", "ReservedCode2": "",
}  # fmt: skip
PARAMETERS = "A red shoe on 白色 \U0001f45f\nSteps: 20, Sampler: Euler, Seed: 42"
TAG = {
    "source": "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType",
    "label": "{http://www.tc260.org.cn/ns/AIGC/1.0/}AIGC",
}


def picture(mode="RGB", size=(64, 48)):
    return Image.linear_gradient("L").resize(size).convert(mode)


def written(folder, form, image=None, **options):
    path = folder / f"image.{FORMATS[form]}"
    marks.write(image or picture(), path, form, **{"label": LABEL, "parameters": PARAMETERS, **options})
    return path


def packets_in(content):
    """Every XMP packet of a file, by the specifications of its format."""
    if content.startswith(b"\x89PNG"):
        return [body[22:] for kind, body in png_chunks(content) if body.startswith(b"XML:com.adobe.xmp\0\0\0\0\0")]
    if content.startswith(b"RIFF"):
        return [body for kind, body in riff_chunks(content) if kind == b"XMP "]
    header = b"http://ns.adobe.com/xap/1.0/\0"
    return [body[len(header) :] for kind, body in jpeg_segments(content) if kind == 0xE1 and body.startswith(header)]


def png_chunks(content):
    at = 8
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert int.from_bytes(content[at + 8 + length : at + 12 + length], "big") == zlib.crc32(kind + body)
        yield kind, body
        at += length + 12


def riff_chunks(content):
    assert int.from_bytes(content[4:8], "little") == len(content) - 8
    at = 12
    while at < len(content):
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        yield content[at : at + 4], content[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def jpeg_segments(content):
    at = 2
    while content[at + 1] != 0xDA:
        assert content[at] == 0xFF
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        yield content[at + 1], content[at + 4 : at + 2 + length]
        at += 2 + length


def values_in(content, what):
    roots = [ElementTree.fromstring(packet) for packet in packets_in(content)]
    return [node.text for root in roots for node in root.iter(TAG[what])]


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_says_once_how_it_was_made(form, tmp_path):
    path = written(tmp_path, form)
    content = path.read_bytes()
    assert len(packets_in(content)) == 1 and content.count(b"TC260:AIGC>") == 2
    assert values_in(content, "source") == [SOURCE]
    (label,) = values_in(content, "label")
    assert list(json.loads(label).items()) == list(FIELDS.items())
    found = marks.read(path)
    assert (found.sources, found.labels) == (("trainedAlgorithmicMedia",), 1)
    assert found.aigc == FIELDS and found.parameters == PARAMETERS


@pytest.mark.parametrize("form", FORMATS)
def test_pillow_reads_the_marks(form, tmp_path):
    path = written(tmp_path, form)
    with Image.open(path) as image:
        if importlib.util.find_spec("defusedxml"):
            text = json.dumps(image.getxmp())
        elif "xmp" in image.info:  # as it is in the file
            text = json.dumps(image.info["xmp"].decode("utf-8"))
        else:
            pytest.skip("this Pillow reads XMP only with defusedxml installed")
    assert SOURCE in text and json.dumps(json.dumps(FIELDS, separators=(",", ":")))[1:-1] in text


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("outer_key", [False, True])
def test_exiftool_reads_the_marks(form, outer_key, tmp_path):
    if not shutil.which("exiftool"):
        pytest.skip("exiftool is not installed (Debian: libimage-exiftool-perl)")
    path = written(tmp_path, form, label=marks.Label("trainedAlgorithmicMedia", "Shop", "a<b>&c", outer_key=outer_key))
    command = ["exiftool", "-j", "-a", "-G1", "-struct", "-XMP:all", "-UserComment", "-Parameters", str(path)]
    done = subprocess.run(command, capture_output=True, check=True, encoding="utf-8")
    (read,) = json.loads(done.stdout)
    assert read["XMP-iptcExt:DigitalSourceType"] == SOURCE
    label = read["XMP-TC260:Aigc"]
    # It takes a text in braces for a structure of its own, or leaves it a text, by its version.
    label = json.loads(label) if isinstance(label, str) else label
    label = label["AIGC"] if outer_key else label
    assert label["ProduceID"] == "a<b>&c" and label["ContentPropagator"] == "Shop"
    assert read["PNG:Parameters" if form == "PNG" else "ExifIFD:UserComment"] == PARAMETERS
    done = subprocess.run(["exiftool", "-j", "-warning", "-error", str(path)], capture_output=True, check=True)
    assert set(json.loads(done.stdout)[0]) == {"SourceFile"}


@pytest.mark.parametrize("form", FORMATS)
def test_an_image_that_is_written_again_still_has_one_label(form, tmp_path):
    first = written(tmp_path, form)
    with Image.open(first) as image:
        again = tmp_path / f"again.{FORMATS[form]}"
        label = marks.Label("compositeWithTrainedAlgorithmicMedia", "Shop", "7", "Agency", "8")
        marks.write(image, again, form, label=label)
    found = marks.read(again)
    assert (found.labels, found.parameters) == (1, "")
    assert found.sources == ("compositeWithTrainedAlgorithmicMedia",)
    assert (found.aigc["ContentProducer"], found.aigc["ContentPropagator"]) == ("Shop", "Agency")
    assert PRODUCER.encode() not in again.read_bytes() and b"red shoe" not in again.read_bytes()


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_image_gives_the_same_bytes_in_srgb(form, tmp_path):
    assert written(tmp_path, form).read_bytes() == written(tmp_path, form).read_bytes()
    with Image.open(tmp_path / f"image.{FORMATS[form]}") as image:
        profile = image.info["icc_profile"]
        assert (image.mode, image.size) == ("RGB", (64, 48))
    # ICC.1: the data colour space, and the signature.
    assert profile[16:20] == b"RGB " and profile[36:40] == b"acsp" and b"sRGB" in profile.replace(b"\0", b"")


def test_lossless_pixels_stay_and_transparency_is_kept_or_laid_on_white(tmp_path):
    image = picture("RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    with Image.open(written(tmp_path, "PNG", image)) as read:
        assert read.tobytes() == image.tobytes()
    with Image.open(written(tmp_path, "WEBP", image)) as read:
        assert read.getchannel("A").getextrema() == (0, 0)
    with Image.open(written(tmp_path, "JPEG", image)) as read:
        assert read.getextrema() == ((255, 255),) * 3


def test_a_jpeg_keeps_the_colours_of_every_pixel(tmp_path):
    with Image.open(written(tmp_path, "JPEG")) as image:
        assert JpegImagePlugin.get_sampling(image) == 0


@pytest.mark.parametrize("form", FORMATS)
def test_parameters_can_be_left_out(form, tmp_path):
    found = marks.read(written(tmp_path, form, parameters=None))
    assert (found.parameters, found.labels) == ("", 1)


def test_parameters_that_no_file_can_hold_are_written_as_far_as_they_can(tmp_path):
    assert marks.read(written(tmp_path, "PNG", parameters="a\0b \ud83d")).parameters == "ab ?"


def test_what_does_not_fit_into_a_jpeg_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"The generation parameters would take 80\d\d\d bytes.*or write a PNG"):
        written(tmp_path, "JPEG", parameters="a" * 40_000)
    assert list(tmp_path.iterdir()) == []
    assert marks.read(written(tmp_path, "PNG", parameters="a" * 40_000)).parameters == "a" * 40_000


WRONG = [
    ({"producer": ""}, "producer is empty"),
    ({"produce_id": ""}, "produce_id is empty"),
    ({"producer": "My shop"}, "does not allow ' ' there"),
    ({"producer": "店"}, "does not allow '店' there"),
    ({"produce_id": 'a"b'}, "produce_id"),
    ({"propagate_id": "a\\b"}, "propagate_id"),
    ({"propagator": "a" * 1001}, "1001 characters"),
    ({"source": "digitalCapture"}, "expected one of trainedAlgorithmicMedia"),
    ({"producer": "001191330100799655058C00001"}, "last character does not fit"),
    ({"propagator": "91330100799655085B"}, "last character does not fit"),
    ({"producer": "001191330100799655058B0000X"}, "5 digits"),
]


@pytest.mark.parametrize(("changed", "sentence"), WRONG)
def test_a_label_that_the_standard_forbids_is_refused(changed, sentence, tmp_path):
    values = {"source": "trainedAlgorithmicMedia", "producer": "Shop", "produce_id": "1", **changed}
    with pytest.raises(UserError, match=sentence):
        marks.write(picture(), tmp_path / "a.png", "PNG", label=marks.Label(**values))
    assert list(tmp_path.iterdir()) == []


def test_every_character_that_the_standard_allows_is_kept(tmp_path):
    allowed = "".join(map(chr, [0x21, *range(0x23, 0x5C), *range(0x5D, 0x7F)]))
    path = written(tmp_path, "JPEG", label=marks.Label("trainedAlgorithmicMedia", allowed, "1"))
    assert marks.read(path).aigc["ContentProducer"] == allowed


@pytest.mark.parametrize("code", ["91330100799655058B", "914403001922038216", "9144030071526726XG"])
def test_real_credit_codes_are_valid(code):
    assert credit_code.is_valid(code)
    # Each of a code's characters counts, and so does their order (GB 32100-2015).
    for place, character in enumerate(code):
        other = "0" if character != "0" else "1"
        assert not credit_code.is_valid(code[:place] + other + code[place + 1 :])


def foreign(text, name="XML:com.adobe.xmp", zip=False):
    info = PngImagePlugin.PngInfo()
    info.add_itxt(name, text, zip=zip)
    out = BytesIO()
    picture().save(out, "PNG", pnginfo=info)
    return out.getvalue()


def rdf(description):
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
        'xmlns:T="http://www.tc260.org.cn/ns/AIGC/1.0/" xmlns:I="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
        f"{description}</rdf:RDF></x:xmpmeta>"
    )


READ = [
    # As an attribute, with the outer key.
    ("<rdf:Description T:AIGC='{\"AIGC\":{\"Label\":\"2\"}}'/>", ((), {"Label": "2"}, 1)),
    # As a reference, and two labels.
    (
        f'<rdf:Description><I:DigitalSourceType rdf:resource="{SOURCE}"/><T:AIGC>{{"Label":1}}</T:AIGC>'
        "</rdf:Description><rdf:Description><T:AIGC>none</T:AIGC></rdf:Description>",
        (("trainedAlgorithmicMedia",), {"Label": "1"}, 2),
    ),
    ("<rdf:Description><I:DigitalSourceType>other</I:DigitalSourceType></rdf:Description>", (("other",), None, 0)),
    ("<broken", ((), None, 0)),
]  # fmt: skip


@pytest.mark.parametrize(("description", "expected"), READ)
@pytest.mark.parametrize("zip", [False, True])
def test_other_programs_marks_are_read(description, expected, zip, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(foreign(rdf(description), zip=zip))
    found = marks.read(path)
    assert (found.sources, found.aigc, found.labels) == expected


def test_entities_of_a_hostile_packet_are_not_expanded(tmp_path):
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + rdf("<rdf:Description T:AIGC='&b;'/>")
    (tmp_path / "a.png").write_bytes(foreign(bomb))
    assert marks.read(tmp_path / "a.png") == marks.Found((), None, 0, "")


@pytest.mark.parametrize("order", ["big", "little"])
def test_comments_of_either_byte_order_are_read(order, tmp_path):
    mark, letter, codec = (b"MM", ">", "utf-16-be") if order == "big" else (b"II", "<", "utf-16-le")
    value = b"UNICODE\0" + "Steps: 20, 鞋".encode(codec)
    block = mark + struct.pack(letter + "HI", 42, 8)
    block += struct.pack(letter + "HHHIII", 1, 0x8769, 4, 1, 26, 0)
    block += struct.pack(letter + "HHHIII", 1, 0x9286, 7, len(value), 44, 0) + value
    picture().save(tmp_path / "a.jpg", exif=b"Exif\0\0" + block)
    assert marks.read(tmp_path / "a.jpg").parameters == "Steps: 20, 鞋"


def test_what_is_no_such_image_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.png: the image cannot be read"):
        marks.read(tmp_path / "none.png")
    (tmp_path / "a.png").write_bytes(b"GIF89a")
    with pytest.raises(UserError, match=r"a\.png: this is no PNG, JPEG or WebP"):
        marks.read(tmp_path / "a.png")
    with pytest.raises(UserError, match="format: 'GIF' is none that is written"):
        marks.write(picture(), tmp_path / "a.gif", "GIF", label=LABEL)


@pytest.mark.parametrize("form", FORMATS)
def test_a_damaged_file_is_read_or_named(form, tmp_path):
    content = written(tmp_path, form).read_bytes()
    path = tmp_path / "cut"
    for length in range(12, len(content), 61):
        path.write_bytes(content[:length])
        try:
            assert marks.read(path).labels in (0, 1)
        except UserError as error:
            assert "damaged" in str(error)
