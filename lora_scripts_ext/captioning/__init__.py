"""An image -> a caption: one file a captioner."""
