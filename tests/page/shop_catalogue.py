"""A catalogue whose candidates are there without a model: small images that all differ, to test a page with."""

from __future__ import annotations

import colorsys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from lora_scripts_ext.catalogue import candidates
from lora_scripts_ext.catalogue.candidates import Candidate, Drawn
from lora_scripts_ext.catalogue.store import Catalogue
from lora_scripts_ext.models.weights import sha256

ERROR = "There is no LoRA spring; train it, or name another one in the rules."


def draw(
    data_dir: Path, id: str, failing: Collection[str] = (), side: int = 96, only: Collection[str] | None = None
) -> None:
    """Draw what a catalogue's products lack, or those with the SKUs ``only``; the SKUs ``failing`` cannot be drawn."""
    catalogue = Catalogue.open(data_dir / "catalogues" / id)
    try:
        ids = None if only is None else [catalogue.by_sku(sku).id for sku in only]
        candidates.request(catalogue, products=ids)
        place = ()
        while found := candidates.next_batch(catalogue, *place):
            product, batch, after = found
            place = (after,)
            waiting = [one for one in batch if one.state == "waiting"]
            if product.sku in failing:
                candidates.note_failed(catalogue, waiting, f"{product.sku}: {ERROR}")
            else:
                text = product.plan.prompt
                candidates.note_drawn(catalogue, [_drawn(catalogue, product.id, one, text, side) for one in waiting])
    finally:
        catalogue.close()


def _drawn(catalogue: Catalogue, product: int, one: Candidate, prompt: str, side: int) -> Drawn:
    catalogue.images.mkdir(exist_ok=True)
    path = catalogue.images / f"{product}-{one.number}.png"
    image(product, one.number, side).save(path)
    facts: dict[str, Any] = {
        "prompt": prompt, "negative": "", "width": side, "height": side, "steps": 1, "cfg_scale": 7.0,
        "sampler": "Euler", "base_model": {"name": "tiny", "sha256": "00"}, "loras": [],
        "source": "trainedAlgorithmicMedia", "producer": "LoRA-Trainer", "produce_id": f"{product}-{one.number}",
        "parameters": f"{prompt}\nSteps: 1",
    }  # fmt: skip
    return Drawn(one, path.name, sha256([path]), facts)


def image(product: int, number: int, side: int) -> Image.Image:
    """A vase whose colour is the product's and whose background and place are the candidate's."""
    drawn = Image.new("RGB", (side, side), _colour(0.13 * number + 0.05, 0.18, 0.96))
    pen = ImageDraw.Draw(drawn)
    pen.rectangle((0, side * 0.72, side, side), fill=_colour(0.13 * number + 0.05, 0.25, 0.84))
    left = side * (0.28 + 0.04 * (number % 4))
    body, dark = _colour(0.17 * product, 0.6, 0.75), _colour(0.17 * product, 0.7, 0.55)
    pen.ellipse((left - side * 0.02, side * 0.78, left + side * 0.36, side * 0.88), fill=_colour(0.1, 0.2, 0.6))
    pen.ellipse((left, side * 0.36, left + side * 0.32, side * 0.84), fill=body)
    pen.rectangle((left + side * 0.1, side * 0.2, left + side * 0.22, side * 0.45), fill=body)
    pen.ellipse((left + side * 0.09, side * 0.16, left + side * 0.23, side * 0.24), fill=dark)
    return drawn


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)
