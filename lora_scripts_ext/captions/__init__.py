"""Captions of images: the files people keep them in, their encodings, and the store that edits them."""
