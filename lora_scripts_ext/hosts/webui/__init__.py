"""The hosts inside a WebUI: what they share, and a folder for each WebUI."""
