"""A product put back into a drawn scene: its own pixels inside, no seam around."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from .placing import Placed

# Of the scene's light that comes around the edge, in the band outside of the product.
_WRAP = 0.2
_WRAP_RADIUS = 4.0


def put_back(scene: Image.Image, placed: Placed) -> Image.Image:
    """RGB: inside ``placed.mask`` the product's very pixels; outside of it the scene, with the product's soft edge.

    In the thin band outside of the mask that still is product in part, the scene's light is mixed into the product's
    colours, as it comes around an edge.
    """
    drawn = np.asarray(scene.convert("RGB"), np.float32)
    around = np.asarray(scene.convert("RGB").filter(ImageFilter.GaussianBlur(_WRAP_RADIUS)), np.float32)
    own = np.asarray(placed.pixels)
    # Half and more is inside, and whole: so that the edge is as soft as it was, it reaches half a step further out.
    share = np.minimum(1, np.asarray(placed.alpha, np.float32)[..., None] / 127.5)
    wrap = _WRAP * (1 - share)
    edge = own * (1 - wrap) + around * wrap
    mixed = (drawn * (1 - share) + edge * share).clip(0, 255).round().astype(np.uint8)
    inside = np.asarray(placed.mask)[..., None] > 0
    return Image.fromarray(np.where(inside, own, mixed))
