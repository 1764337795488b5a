"""The command line arguments that the extension adds to the WebUI's."""

import argparse


def preload(parser: argparse.ArgumentParser) -> None:
    """Called before anything else of the WebUI is loaded."""
    parser.add_argument(
        "--lora-trainer-data-dir",
        type=str,
        default=None,
        help="folder of the LoRA Trainer's runs: checkpoints, previews, logs (default: DATA_DIR/lora_trainer)",
    )
    parser.add_argument(
        "--lora-trainer-allowed-root",
        type=str,
        action="append",
        default=[],
        help="folder from which pictures may be trained when the WebUI is reachable by others; may be repeated",
    )
    parser.add_argument(
        "--lora-trainer-extras",
        action="store_true",
        help="install what some of its settings want (further optimizers, TensorBoard, HEIC images, the WD14 "
        "captioner), without changing any package that is there",
    )
