"""From millivolts to what a model takes and what a person can check: window, beats, measurements, quality."""
