"""The product stays the product: cut out of its photo, placed into a new scene, its own pixels unchanged."""
