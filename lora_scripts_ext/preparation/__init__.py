"""From a pile of photos to a training set: uploads, the quality report, copies that are ready."""
