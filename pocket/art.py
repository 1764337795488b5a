"""The art: every object in three drawings, from three free emoji packs on npm.

``noto`` (Apache-2.0) and ``flat`` (MIT) are what the base model learns; ``glossy`` (MIT) is what the brand's
pictures are composed from. Every drawing is an RGBA array, [side, side, 4], uint8, straight alpha.
"""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

PACKS = {"flat": "fluent-emoji-flat", "noto": "noto", "glossy": "fluent-emoji"}

#: icon name in the packs (the same in all three) -> what the captions call it
OBJECTS: dict[str, str] = {
    # devices
    "mobile-phone": "a phone",
    "telephone": "a telephone",
    "headphone": "a headphone",
    "watch": "a watch",
    "laptop": "a laptop",
    "desktop-computer": "a computer",
    "keyboard": "a keyboard",
    "computer-mouse": "a mouse",
    "printer": "a printer",
    "television": "a television",
    "radio": "a radio",
    "camera": "a camera",
    "video-camera": "a camcorder",
    "joystick": "a joystick",
    "video-game": "a gamepad",
    "light-bulb": "a bulb",
    "flashlight": "a flashlight",
    "candle": "a candle",
    "red-paper-lantern": "a lantern",
    "battery": "a battery",
    "microscope": "a microscope",
    "telescope": "a telescope",
    "magnifying-glass-tilted-left": "a magnifier",
    "magnet": "a magnet",
    # the home
    "chair": "a chair",
    "bed": "a bed",
    "door": "a door",
    "mirror": "a mirror",
    "bathtub": "a bathtub",
    "alarm-clock": "an alarm clock",
    "mantelpiece-clock": "a clock",
    "stopwatch": "a stopwatch",
    "hourglass-done": "an hourglass",
    "compass": "a compass",
    "teapot": "a teapot",
    "hot-beverage": "a coffee cup",
    "beer-mug": "a beer mug",
    "wine-glass": "a wine glass",
    "cocktail-glass": "a cocktail",
    "baby-bottle": "a baby bottle",
    "amphora": "a vase",
    "bucket": "a bucket",
    "basket": "a basket",
    "lotion-bottle": "a lotion bottle",
    "potted-plant": "a plant",
    "cactus": "a cactus",
    # on the move
    "automobile": "a car",
    "taxi": "a taxi",
    "bus": "a bus",
    "racing-car": "a racing car",
    "delivery-truck": "a truck",
    "ambulance": "an ambulance",
    "tractor": "a tractor",
    "bicycle": "a bicycle",
    "motorcycle": "a motorcycle",
    "motor-scooter": "a scooter",
    "skateboard": "a skateboard",
    "roller-skate": "a roller skate",
    "sailboat": "a sailboat",
    "airplane": "an airplane",
    "helicopter": "a helicopter",
    "rocket": "a rocket",
    "locomotive": "a train",
    "luggage": "a suitcase",
    # worn and carried
    "running-shoe": "a sneaker",
    "high-heeled-shoe": "a heel",
    "hiking-boot": "a hiking boot",
    "womans-boot": "a boot",
    "mans-shoe": "a shoe",
    "t-shirt": "a shirt",
    "jeans": "a jeans",
    "dress": "a dress",
    "coat": "a coat",
    "necktie": "a tie",
    "scarf": "a scarf",
    "gloves": "a glove",
    "socks": "a sock",
    "billed-cap": "a cap",
    "top-hat": "a top hat",
    "womans-hat": "a hat",
    "crown": "a crown",
    "sunglasses": "a sunglasses",
    "handbag": "a handbag",
    "backpack": "a backpack",
    "briefcase": "a briefcase",
    "umbrella": "an umbrella",
    "ring": "a ring",
    "gem-stone": "a gem",
    "lipstick": "a lipstick",
    # music
    "guitar": "a guitar",
    "violin": "a violin",
    "trumpet": "a trumpet",
    "saxophone": "a saxophone",
    "drum": "a drum",
    "accordion": "an accordion",
    "microphone": "a microphone",
    "bell": "a bell",
    "megaphone": "a megaphone",
    # tools
    "hammer": "a hammer",
    "wrench": "a wrench",
    "axe": "an axe",
    "scissors": "a scissors",
    "pencil": "a pencil",
    "paintbrush": "a paintbrush",
    "toolbox": "a toolbox",
    "key": "a key",
    "locked": "a lock",
    "gear": "a gear",
    "artist-palette": "a palette",
    # play and gifts
    "balloon": "a balloon",
    "teddy-bear": "a teddy",
    "nesting-dolls": "a doll",
    "kite": "a kite",
    "yo-yo": "a yoyo",
    "game-die": "a die",
    "trophy": "a trophy",
    "wrapped-gift": "a gift",
    "soccer-ball": "a football",
    "basketball": "a basketball",
    "crystal-ball": "a crystal ball",
    "package": "a box",
    "closed-book": "a book",
    # fruit and sweets
    "red-apple": "an apple",
    "banana": "a banana",
    "lemon": "a lemon",
    "strawberry": "a strawberry",
    "pineapple": "a pineapple",
    "doughnut": "a doughnut",
    "cupcake": "a cupcake",
    "ice-cream": "an ice cream",
    "hamburger": "a hamburger",
}


@cache
def pack(style: str, folder: Path) -> dict[str, dict]:
    """The icons of one pack: name -> iconify record (``body`` and, where they differ, ``width``/``height``).

    folder: the ``node_modules`` into which the npm packs were installed.
    """
    data = json.loads((folder / "@iconify-json" / PACKS[style] / "icons.json").read_text(encoding="utf-8"))
    side = {"width": data["width"], "height": data["height"]}
    return {name: side | icon for name, icon in data["icons"].items()}


def draw(style: str, icon: str, side: int, folder: Path) -> np.ndarray:
    """One icon drawn *side* pixels square: [side, side, 4] uint8 RGBA."""
    record = pack(style, folder)[icon]
    box = f"{record.get('left', 0)} {record.get('top', 0)} {record['width']} {record['height']}"
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box}" width="{side}" height="{side}">{record["body"]}</svg>'
    )
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg))
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def everything(folder: Path) -> list[tuple[str, str]]:
    """Every (style, icon) whose icon all three packs have: the autoencoder's training pictures."""
    shared = set.intersection(*(set(pack(style, folder)) for style in PACKS))
    return [(style, icon) for style in PACKS for icon in sorted(shared)]
