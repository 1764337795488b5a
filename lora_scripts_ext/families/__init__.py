"""What a base model is: one file a family, and a registry of them."""
