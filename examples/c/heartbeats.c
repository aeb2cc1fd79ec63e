/* Prints the heart beats of a serial ECG device as they come: when, and the heart rate since the one before.
 *
 *   heartbeats cyton.json < capture.bin
 *   stty -F /dev/ttyUSB0 raw 115200 && heartbeats e8.json < /dev/ttyUSB0      if it streams by itself
 */
#include <math.h>
#include <stdio.h>
#include <uniecg.h>
#include <unistd.h>

enum { TEXT = 1 << 18 };

static int fail(const char* what, const char* why) {
  fprintf(stderr, "%s: %s\n", what, why);
  return 1;
}

static void print_beats(uniecg_beats* beats, double rate) {
  static double before = -1;
  uniecg_beat beat;
  while (uniecg_beats_pull(beats, &beat, 1) > 0) {
    const double seconds = (double)beat.position / rate;
    printf("%.3f s", seconds);
    if (before >= 0) printf(" %.0f/min", 60 / (seconds - before));
    putchar('\n');
    before = seconds;
  }
  fflush(stdout);
}

/* One sample after the other: what the line lost is told to the detector, and a lead whose electrode is off
 * has no sample. */
static void push_samples(uniecg_framer* framer, uniecg_beats* beats) {
  static uint64_t next = 0;
  const size_t channels = uniecg_framer_channels(framer);
  float millivolts[UNIECG_MAX_CHANNELS];
  uint64_t position;
  uint32_t off;
  while (uniecg_framer_pull(framer, 1, millivolts, NULL, &off, &position) > 0) {
    if (position > next) uniecg_beats_skip(beats, position - next);
    next = position + 1;
    for (size_t c = 0; c < channels; ++c) {
      if (off >> c & 1) millivolts[c] = NAN;
    }
    uniecg_beats_push(beats, millivolts, 1);
  }
}

int main(int argc, char** argv) {
  static char profile[TEXT + 1];
  if (argc != 2) return fail(argv[0], "PROFILE.json < BYTES");
  FILE* file = fopen(argv[1], "rb");
  if (file == NULL) return fail(argv[1], "cannot be read");
  profile[fread(profile, 1, TEXT, file)] = 0;
  fclose(file);

  char error[256];
  uniecg_framer* framer = uniecg_framer_create(profile, 10000, error, sizeof error);
  if (framer == NULL) return fail(argv[1], error);
  const double rate = uniecg_framer_rate(framer);
  uniecg_beats* beats = uniecg_beats_create(rate, uniecg_framer_channels(framer), error, sizeof error);
  if (beats == NULL) {
    uniecg_framer_destroy(framer);
    return fail(argv[1], error);
  }
  uint8_t bytes[512];
  ssize_t size;
  while ((size = read(STDIN_FILENO, bytes, sizeof bytes)) > 0) {
    uniecg_framer_push(framer, bytes, (size_t)size);
    push_samples(framer, beats);
    print_beats(beats, rate);
  }
  uniecg_beats_destroy(beats);
  uniecg_framer_destroy(framer);
  return 0;
}
