"""From a checkpoint to a bundle; the only place that imports torch."""
