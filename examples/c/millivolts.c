/* Prints the millivolts of a serial ECG device, one line a sample (nan while an electrode is off), and
 * at the end what the line lost.
 *
 *   millivolts cyton.json /dev/ttyUSB0 115200 62    opens the port and sends the byte 62 to start
 *   millivolts cyton.json < capture.bin
 */
#define _DEFAULT_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <uniecg.h>
#include <unistd.h>

enum { BLOCK = 64, TEXT = 1 << 18 };

static int fail(const char* what, const char* why) {
  fprintf(stderr, "%s: %s\n", what, why);
  return 1;
}

static speed_t find_speed(const char* baud) {
  static const struct {
    const char* baud;
    speed_t speed;
  } known[] = {{"9600", B9600}, {"57600", B57600}, {"115200", B115200}, {"230400", B230400}};
  for (size_t k = 0; k < sizeof known / sizeof *known; ++k) {
    if (strcmp(baud, known[k].baud) == 0) return known[k].speed;
  }
  return B0;
}

/* The port without any translation of bytes, or -1. */
static int open_port(const char* path, const char* baud) {
  struct termios line;
  const speed_t speed = find_speed(baud);
  const int port = open(path, O_RDWR | O_NOCTTY);
  if (port < 0 || speed == B0 || tcgetattr(port, &line) != 0) return -1;
  cfmakeraw(&line);
  cfsetspeed(&line, speed);
  return tcsetattr(port, TCSAFLUSH, &line) == 0 ? port : -1;
}

static int send_hex(int port, const char* hex) {
  unsigned byte;
  for (int used = 0; sscanf(hex, "%2x%n", &byte, &used) == 1; hex += used) {
    const unsigned char sent = (unsigned char)byte;
    if (write(port, &sent, 1) != 1) return -1;
  }
  return 0;
}

static void print_samples(uniecg_framer* framer) {
  static float millivolts[UNIECG_MAX_CHANNELS * BLOCK];
  uint64_t positions[BLOCK];
  uint32_t off[BLOCK];
  size_t count;
  while ((count = uniecg_framer_pull(framer, BLOCK, millivolts, NULL, off, positions)) > 0) {
    for (size_t k = 0; k < count; ++k) {
      printf("%.3f", (double)positions[k] / uniecg_framer_rate(framer));
      for (size_t c = 0; c < uniecg_framer_channels(framer); ++c) {
        printf(" %.4f", off[k] >> c & 1 ? (double)NAN : (double)millivolts[c * BLOCK + k]);
      }
      putchar('\n');
    }
  }
}

int main(int argc, char** argv) {
  static char profile[TEXT + 1];
  if (argc < 2) return fail(argv[0], "PROFILE.json [PORT BAUD [START, as hex]]");
  FILE* file = fopen(argv[1], "rb");
  if (file == NULL) return fail(argv[1], "cannot be read");
  profile[fread(profile, 1, TEXT, file)] = 0;
  fclose(file);

  char error[256];
  uniecg_framer* framer = uniecg_framer_create(profile, 10000, error, sizeof error);
  if (framer == NULL) return fail(argv[1], error);
  const int port = argc > 3 ? open_port(argv[2], argv[3]) : STDIN_FILENO;
  if (port < 0 || (argc > 4 && send_hex(port, argv[4]) != 0)) return fail(argv[2], "cannot be opened so");

  uint8_t bytes[512];
  ssize_t size;
  while ((size = read(port, bytes, sizeof bytes)) > 0) {
    uniecg_framer_push(framer, bytes, (size_t)size);
    print_samples(framer);
  }
  uniecg_counters counters;
  uniecg_framer_counters(framer, &counters);
  fprintf(stderr, "samples %" PRIu64 " lost %" PRIu64 " skipped bytes %" PRIu64 "\n", counters.samples,
          counters.lost_samples, counters.skipped_bytes);
  uniecg_framer_destroy(framer);
  return 0;
}
