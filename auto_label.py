"""Caption pictures: ``python auto_label.py --input DIR --output metadata.csv [--captioner NAME] [--trigger WORD]``."""

import sys

from lora_scripts_ext.commands.auto_label import main

if __name__ == "__main__":
    sys.exit(main())
