"""Make the pocket model and the brands' images again: ``python -m pocket.make --packs node_modules --merges FILE``."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import torch
from transformers import CLIPTokenizer

from pocket import argilla, art, brand, diffusion, export, text, vae

HERE = Path(__file__).resolve().parent


def vocabulary() -> set[str]:
    """Every word a caption of the base or of a brand can hold."""
    texts = ["lumora style", "icon product photo picture of the on with", *art.OBJECTS.values(), *diffusion.COLOURS]
    texts += diffusion.captions("", "white")
    return set(re.findall("[a-z]+", " ".join(texts)))


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packs", type=Path, required=True, help="the node_modules folder with the four icon packs")
    parser.add_argument("--merges", type=Path, required=True, help="bpe_simple_vocab_16e6.txt.gz of open_clip_torch")
    parser.add_argument("--work", type=Path, default=Path("pocket_work"), help="where unfinished training is kept")
    parser.add_argument("--vae-minutes", type=float, default=20)
    parser.add_argument("--unet-minutes", type=float, default=85)
    return parser.parse_args()


def prepare(options: argparse.Namespace) -> None:
    """Images, tokenizer and, unless the work folder has it, the trained autoencoder."""
    options.work.mkdir(parents=True, exist_ok=True)
    brands(options.packs)
    text.write_tokenizer(HERE / "model" / "text", options.merges, vocabulary())
    if not (options.work / "vae.pt").exists():
        vae.train(art.everything(vae.SIDE, options.packs), options.vae_minutes, options.work / "vae.pt")


def brands(packs: Path) -> None:
    """The images of both brands, drawn from the icon packs in that ``node_modules`` folder."""
    for source, folder, style in ((brand, HERE, "glossy"), (argilla, HERE / "argilla", "mozilla")):
        brand.write(folder / "brand", source.TRAINING, packs, False, style, source.compose)
        brand.write(folder / "tuning", source.TUNING, packs, True, style, source.compose)
        brand.write(folder / "held_out", source.HELD_OUT, packs, True, style, source.compose)


def main() -> None:
    """Prepare, train the diffusion model and write the checkpoint."""
    options = parse_options()
    prepare(options)
    tokenizer = CLIPTokenizer.from_pretrained(HERE / "model" / "text")
    model = vae.build(1).eval()
    model.load_state_dict(torch.load(options.work / "vae.pt", weights_only=True))
    data = diffusion.cache(model, tokenizer, options.packs)
    pair = diffusion.train(data, tokenizer, options.unet_minutes, options.work / "diffusion.pt")
    export.write(pair, model, data.scale_factor, HERE / "model" / "pocket.safetensors")


if __name__ == "__main__":
    main()
