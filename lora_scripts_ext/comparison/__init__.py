"""Two products side by side: the card with their specifications, and one image of both."""
