"""Catalogues: products with their prompts, the images drawn of them, what people chose, and what is handed back."""
