"""From a pile of photos to a training set: captions, preparation, a report on what is there."""
