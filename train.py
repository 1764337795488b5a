"""Train a LoRA: ``python train.py --config FILE [--set key=value ...] [--resume] [--dry-run]``."""

import sys

from lora_scripts_ext.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
