"""Say which pictures of a folder are fit to train on: ``python check_dataset.py --input DIR [--leave-out]``."""

import sys

from lora_scripts_ext.commands.check_dataset import main

if __name__ == "__main__":
    sys.exit(main())
