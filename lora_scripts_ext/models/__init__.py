"""Base models: files and folders, names, text encoders, VAE, and what each model is."""
