"""A picture -> a caption."""
