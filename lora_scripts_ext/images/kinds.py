"""Which files are images: by extension, by their first bytes, and what to do with those that cannot be read."""

from __future__ import annotations

import re


def _dotted(extensions: str) -> frozenset[str]:
    return frozenset(f".{extension}" for extension in extensions.split())


#: extensions that are read, a few of them only where a package is installed; see ``plugins``
EXTENSIONS = _dotted(
    "png apng jpg jpeg jpe jif jfif pjpeg pjp mpo webp bmp dib gif tif tiff avif heic heif hif "
    "jxl jp2 j2k j2c jpf jpx ppm pgm pbm pnm qoi"
)

#: bytes of a file that tell what it is
HEAD = 64

_RAW = "is a camera raw file, which is not read; export it as JPEG or TIFF"
_LAYERS = "is the file of a drawing program, which is not read; export it as PNG or JPEG"
_VECTOR = "is a vector drawing, which is not read; export it as PNG"
_OTHER = "is in an image format that is not read; convert it to PNG or JPEG"
_SHORTCUT = "is a Windows shortcut; copy the image itself into the folder"
_POINTER = "is a Git LFS pointer, not the image itself; run git lfs pull"
_ALIAS = "is a macOS alias; copy the image itself into the folder"


_REASONS = {
    _RAW: "cr2 cr3 crw nef nrw arw sr2 srf srw dng orf rw2 rwl raw raf pef x3f 3fr fff iiq erf kdc dcr mos mrw mef gpr",
    _LAYERS: "psd psb xcf kra ora clip afphoto ai cdr",
    _VECTOR: "svg svgz eps emf wmf",
    _OTHER: "tga ico cur icns dds exr hdr pcx jxr wdp hdp bpg flif sgi xbm xpm",
    _SHORTCUT: "lnk",
}  # fmt: skip
_NOT_READ = {extension: reason for reason, listed in _REASONS.items() for extension in _dotted(listed)}


# Captions and tools' own files: they are not opened, as text may begin with anything ("BM" is a bitmap's signature).
_NO_IMAGES = _dotted(
    "txt caption csv tsv json jsonl toml yaml yml md html htm xml xmp log ini db npz npy pt pth ckpt safetensors zip "
    "py tmp"
)

_SIGNATURES = (
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"GIF8[79]a", "GIF"),
    (rb"RIFF....WEBP", "WebP"),
    (rb"BM....\0\0\0\0..\0\0[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "BMP"),
    (rb"....ftyp(?:.{0,24})(?:avif|avis)", "AVIF"),
    (rb"....ftyp(?:heic|heix|heim|heis|hevc|hevx|mif1|msf1)", "HEIC"),
    (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"II\*\0....CR|IIRO|IIRS|IIU\0|MMOR|FUJIFILMCCD-RAW|FOVb|....ftypcrx ", _RAW),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "TIFF"),
    (rb"qoif", "QOI"),
    (rb"8BPS|gimp xcf", _LAYERS),
    (rb"\s*(?:<\?xml[^>]*>\s*)?<svg", _VECTOR),
    (rb"%!PS-Adobe|\xc5\xd0\xd3\xc6", _VECTOR),
    (rb"\x4c\0\0\0\x01\x14\x02\0", _SHORTCUT),
    (rb"book\0\0\0\0mark", _ALIAS),
    (rb"version https://git-lfs", _POINTER),
)
_INSTALL = {
    "HEIC": "pillow-heif",
    "AVIF": "pillow-avif-plugin",
    "JPEG XL": "pillow-jxl-plugin",
}


def of_content(head: bytes) -> str | None:
    """What a file that begins with ``head`` (``HEAD`` bytes will do) is: a format's name, else the reason why it is
    not read, else None where it is no image that is known here.
    """
    return next((kind for pattern, kind in _SIGNATURES if re.match(pattern, head, re.S)), None)


def is_reason(kind: str) -> bool:
    """Whether ``of_content`` gave a reason instead of a format's name."""
    return kind.startswith("is ")


def refusal(extension: str) -> str | None:
    """Why an image file of this extension (lower case, with its dot) is never read; None where it may be."""
    return _NOT_READ.get(extension)


def may_hide_an_image(extension: str) -> bool:
    """Whether a file of this unknown extension is worth a look at its first bytes."""
    return extension not in _NO_IMAGES


def unidentified(head: bytes) -> str:
    """Why a file that begins with ``head`` was not recognised by any decoder, with the remedy."""
    kind = of_content(head)
    if kind in _INSTALL:
        article = "an" if kind == "AVIF" else "a"
        return f"is {article} {kind} image; to have it read, pip install {_INSTALL[kind]}, or convert it to JPEG"
    return "is damaged, or not in a format that this Pillow reads"
