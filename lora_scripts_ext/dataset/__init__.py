"""Images and captions -> examples -> buckets -> cached latents and text embeddings -> a batch on the device."""
