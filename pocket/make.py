"""Make the pocket model and the brands' images again: ``python -m pocket.make --packs node_modules --merges FILE``.

The 128-px model is made in three steps: ``draw`` its training set into one file, ``train`` in calls of limited length,
``export`` the checkpoint.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from transformers import CLIPTokenizer

from lora_scripts_ext.errors import UserError
from pocket import argilla, art, brand, diffusion, drawings, export, sheet, text, training, vae

HERE = Path(__file__).resolve().parent
WORK = Path("pocket_work")


def vocabulary(styles: Iterable[str] = (diffusion.STYLE,), objects: Iterable[str] = art.OBJECTS.values()) -> set[str]:
    """Every word a caption of the base or of a brand can hold."""
    texts = ["lumora style", "icon product photo picture of the on with", *objects, *diffusion.COLOURS]
    texts += [caption for style in styles for caption in diffusion.captions("", "white", style)]
    return set(re.findall("[a-z]+", " ".join(texts)))


def parse_options() -> argparse.Namespace:
    """The options of the command line; ``make`` is the function of the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    _add_sources(parser, required=False)
    parser.add_argument("--work", type=Path, default=WORK, help="where unfinished training is kept")
    parser.add_argument("--vae-minutes", type=float, default=20)
    parser.add_argument("--unet-minutes", type=float, default=85)
    parser.set_defaults(make=make_small)
    commands = parser.add_subparsers(title="the 128-px model")
    _add_draw(commands.add_parser("draw", help="draw the training set into one file"))
    _add_train(commands.add_parser("train", help="train for some minutes; the next call continues exactly"))
    _add_export(commands.add_parser("export", help="write the checkpoint"))
    options = parser.parse_args()
    if options.make is make_small and not (options.packs and options.merges):
        parser.error("the 64-px model needs --packs and --merges; for the 128-px model, begin with draw")
    return options


def _add_sources(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument("--packs", type=Path, required=required, help="the node_modules folder with the icon packs")
    parser.add_argument(
        "--merges", type=Path, required=required, help="bpe_simple_vocab_16e6.txt.gz of open_clip_torch"
    )


def _add_draw(parser: argparse.ArgumentParser) -> None:
    _add_sources(parser, required=True)
    parser.add_argument("--out", type=Path, default=WORK / "drawings.zip", help="the file to write")
    parser.set_defaults(make=make_drawings)


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=WORK / "drawings.zip", help="the file that draw has written")
    parser.add_argument("--work", type=Path, default=WORK, help="where the states are kept from call to call")
    parser.add_argument("--minutes", type=float, default=8, help="how long this call may take")
    parser.add_argument("--recipe", choices=training.RECIPES, default="large", help="reduced: a trial in seconds")
    parser.add_argument("--vae-steps", type=int, help="of the autoencoder; may change until its last fifth")
    parser.add_argument("--unet-steps", type=int, help="of UNet and text encoder; may change until their last fifth")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.set_defaults(make=train)


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, default=WORK, help="the folder of the training")
    parser.add_argument("--out", type=Path, default=WORK / "model" / "pocket.safetensors", help="the file to write")
    parser.set_defaults(make=write_checkpoint)


def prepare(options: argparse.Namespace) -> None:
    """Images, tokenizer and, unless the work folder has it, the trained autoencoder."""
    options.work.mkdir(parents=True, exist_ok=True)
    brands(options.packs)
    text.write_tokenizer(HERE / "model" / "text", options.merges, vocabulary())
    if not (options.work / "vae.pt").exists():
        everything = torch.from_numpy(art.everything(vae.SIDE, options.packs))
        vae.train(everything, options.vae_minutes, options.work / "vae.pt")


def brands(packs: Path) -> None:
    """The images of both brands, drawn from the icon packs in that ``node_modules`` folder."""
    for source, folder, style in ((brand, HERE, "glossy"), (argilla, HERE / "argilla", "mozilla")):
        brand.write(folder / "brand", source.TRAINING, packs, False, style, source.compose)
        brand.write(folder / "tuning", source.TUNING, packs, True, style, source.compose)
        brand.write(folder / "held_out", source.HELD_OUT, packs, True, style, source.compose)


def make_small(options: argparse.Namespace) -> None:
    """The 64-px model: prepare, train the diffusion model and write the checkpoint."""
    prepare(options)
    tokenizer = CLIPTokenizer.from_pretrained(HERE / "model" / "text")
    model = vae.build(1).eval()
    model.load_state_dict(torch.load(options.work / "vae.pt", weights_only=True))
    data = diffusion.cache(model, tokenizer, options.packs)
    pair = diffusion.train(data, tokenizer, options.unet_minutes, options.work / "diffusion.pt")
    export.write(pair, model, data.scale_factor, HERE / "model" / "pocket.safetensors")


def make_drawings(options: argparse.Namespace) -> None:
    """Draw the 128-px model's training set."""
    words = vocabulary(drawings.STYLES.values(), (art.OBJECTS | art.MORE_OBJECTS).values())
    count = drawings.write(options.out, options.packs, options.merges, words)
    print(json.dumps({"drawings": count, "file": str(options.out), "bytes": options.out.stat().st_size}))


def train(options: argparse.Namespace) -> None:
    """One call of the 128-px model's training; the last line of stdout is how far it is."""
    steps = {"vae_steps": options.vae_steps, "unet_steps": options.unet_steps}
    recipe = replace(
        training.RECIPES[options.recipe], **{key: value for key, value in steps.items() if value is not None}
    )
    print(json.dumps(training.call(recipe, options.data, options.work, options.minutes, torch.device(options.device))))


def write_checkpoint(options: argparse.Namespace) -> None:
    """Write the trained model as it is: the checkpoint, its config, its text encoder's files, a sheet of samples."""
    recipe = training.noted_recipe(options.work)
    pair, model = training.load_pair(recipe, options.work), training.load_autoencoder(recipe, options.work)
    factor = training.scale_factor(options.work)
    export.write(pair, model, factor, options.out)
    export.copy_tokenizer(options.work / "text", options.out.parent / "text")
    tokenizer = CLIPTokenizer.from_pretrained(options.work / "text")
    sheet.write(pair, model, factor, tokenizer, options.out.with_name("sheet.png"))
    print(json.dumps({"checkpoint": str(options.out), "bytes": options.out.stat().st_size}))


def main() -> int:
    """Run the command; a wrong input is answered with one sentence and exit code 2."""
    options = parse_options()
    try:
        options.make(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
