"""Image files: found in a folder, decoded, cut to a bucket."""
