"""Make photos ready to train on: ``python prepare_dataset.py --input DIR_OR_ZIP --output DIR [--crop smart]``."""

import sys

from lora_scripts_ext.commands.prepare_dataset import main

if __name__ == "__main__":
    sys.exit(main())
