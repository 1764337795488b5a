"""What the pocket model and the larger one compute: parameters, size in half precision, floating-point operations.

Run in the repository's root: ``python benchmarks/pocket_size.py``. Nothing is trained; the weights are random.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from transformers import CLIPTokenizer

from pocket import training, vae
from pocket.training import LARGE, Recipe

SHIPPED = replace(LARGE, side=64, vae_widths=(96, 96, 96), unet_layers=1, text_width=128, text_layers=2)
RECIPES = {"64 px, shipped": SHIPPED, "128 px": LARGE, "128 px, factor 4": replace(LARGE, vae_widths=(96, 96, 96))}


def gigaflops(call):
    """Floating-point operations of a call, in 1e9; a multiplication and an addition are two."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops() / 1e9


def row(name: str, recipe: Recipe, tokenizer: CLIPTokenizer) -> str:
    pair, model = training.build_pair(recipe, tokenizer), vae.build(1, recipe.vae_widths, recipe.side)
    millions = [sum(p.numel() for p in part.parameters()) / 1e6 for part in (pair.text_encoder, pair.unet, model)]
    side = pair.unet.config.sample_size
    image, latent = torch.zeros(1, 3, recipe.side, recipe.side), torch.zeros(1, 4, side, side)
    ids, time = torch.zeros(1, 77, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    costs = [
        gigaflops(lambda: pair(latent, time, ids)),
        gigaflops(lambda: vae.encode(model, image)),
        gigaflops(lambda: model.decode(latent)),
    ]
    cells = [
        name,
        *(f"{count:.2f}" for count in millions),
        f"{2 * sum(millions):.1f}",
        *(f"{cost:.2f}" for cost in costs),
    ]
    return "| " + " | ".join(cells) + " |"


def main():
    tokenizer = CLIPTokenizer.from_pretrained(Path(__file__).resolve().parent.parent / "pocket" / "model" / "text")
    print(
        "| | text encoder, M | UNet, M | autoencoder, M | MB | UNet and text, GFLOP | encode, GFLOP | decode, GFLOP |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, recipe in RECIPES.items():
        print(row(name, recipe, tokenizer))


if __name__ == "__main__":
    main()
