"""Products of a shop: the lists they come in, the rules that match LoRAs with them, and their prompts."""
