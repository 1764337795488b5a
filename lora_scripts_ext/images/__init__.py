"""Image files: listed, decoded, cropped to a bucket."""
