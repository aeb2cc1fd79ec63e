/* libuniecg: from the bytes of a serial line to samples in millivolts.
 *
 * A framer executes one frame grammar. Bytes go in at one end; samples, messages (valid frames that
 * carry no samples, such as acknowledgements) and counters come out at the other. Any bytes are
 * acceptable input: nothing that arrives on the wire can crash it, block it or make it grow.
 *
 * Threads. A framer has one producer and one consumer, and they may be two threads:
 *   producer: uniecg_framer_push
 *   consumer: uniecg_framer_pull, uniecg_framer_pull_message
 *   any thread at any time: uniecg_framer_available, uniecg_framer_counters
 *   alone: uniecg_framer_create, uniecg_framer_destroy
 * The two sides never wait for each other. There is no global state; framers are independent.
 */
#ifndef UNIECG_H_
#define UNIECG_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define UNIECG_ABI_VERSION 1
#define UNIECG_MAX_SYNC 8       /* bytes */
#define UNIECG_MAX_FRAME 4096   /* bytes */
#define UNIECG_MAX_CHANNELS 32  /* so that electrode flags fit in a uint32_t */
#define UNIECG_MAX_MESSAGE 256  /* bytes kept of a message; longer ones are cut */
#define UNIECG_MESSAGE_QUEUE 16 /* messages kept until pulled */

/* Bits high..low (7..0) of one byte. Bytes count from the frame's start, negative ones from its end. */
typedef struct uniecg_bits {
  int32_t byte;
  uint8_t high;
  uint8_t low;
} uniecg_bits;

/* Bit runs joined, most significant first; at most 32 bits, two's complement if is_signed. */
typedef struct uniecg_field {
  const uniecg_bits* runs;
  uint32_t run_count; /* 0: no such field */
  uint8_t is_signed;
} uniecg_field;

/* A byte that must satisfy (byte & mask) == value. */
typedef struct uniecg_match {
  int32_t byte;
  uint8_t mask;
  uint8_t value;
} uniecg_match;

typedef enum uniecg_checksum_kind {
  UNIECG_CHECKSUM_NONE = 0,
  UNIECG_CHECKSUM_SUM8 = 1, /* sum modulo 256 */
  UNIECG_CHECKSUM_XOR8 = 2
} uniecg_checksum_kind;

/* Over bytes first..last inclusive (negative: from the end), stored at `byte`. */
typedef struct uniecg_checksum {
  int32_t kind;
  int32_t byte;
  int32_t first;
  int32_t last;
  uint8_t invert; /* the complement is stored */
} uniecg_checksum;

typedef struct uniecg_channel {
  uniecg_field value;
  double offset;          /* counts */
  double mv_per_count;    /* millivolts = (count - offset) * mv_per_count */
  uniecg_field electrode; /* one bit, or none; in every sample of the frame the same */
  uint8_t electrode_on;   /* the bit's value while the electrode is attached */
} uniecg_channel;

/* What a frame looks like. Copied by uniecg_framer_create. */
typedef struct uniecg_grammar {
  const uint8_t* sync;
  uint32_t sync_length;
  uint32_t fixed_length; /* whole frame in bytes, or 0 where `length` says it */
  uniecg_field length;   /* must lie at non-negative bytes */
  int32_t length_adds;   /* whole frame = length field + length_adds */
  uint32_t min_length;   /* of a whole frame where counted; others are false headers */
  uint32_t max_length;
  const uniecg_match* header;
  uint32_t header_count;
  const uniecg_match* footer;
  uint32_t footer_count;
  uniecg_checksum checksum;
  uniecg_field kind; /* tells data frames from messages; none: all carry data */
  uint32_t data_kind;
  uniecg_field counter; /* in data frames only */
  uint32_t counter_modulus;
  const uniecg_channel* channels;
  uint32_t channel_count;
  uint32_t samples_per_frame;
  uint32_t sample_stride; /* bytes from one sample of a frame to the next */
} uniecg_grammar;

/* Totals since creation. bytes = valid frames' bytes + skipped_bytes + those still undecided. */
typedef struct uniecg_counters {
  uint64_t bytes;
  uint64_t frames;        /* valid, with samples */
  uint64_t messages;      /* valid, without */
  uint64_t samples;       /* decoded, per channel */
  uint64_t skipped_bytes; /* part of no valid frame */
  uint64_t resyncs;       /* valid frames found again after skipping */
  uint64_t bad_headers;   /* false headers: sync matched, then a constant, length or counter did not */
  uint64_t bad_footers;
  uint64_t bad_checksums;
  uint64_t counter_gaps;
  uint64_t lost_samples;       /* that the frame counter says went missing, per channel */
  uint64_t overflowed_samples; /* decoded, but the ring was full, per channel */
  uint64_t dropped_messages;   /* the message queue was full */
} uniecg_counters;

typedef struct uniecg_framer uniecg_framer;

int uniecg_abi_version(void);

/* NULL if the grammar contradicts itself or memory is short; `error` then says why.
 * ring_samples: samples kept until pulled. While the ring is full new samples are counted as
 * overflowed and leave a gap in the positions. */
uniecg_framer* uniecg_framer_create(const uniecg_grammar* grammar, uint32_t ring_samples, char* error,
                                    size_t error_size);
void uniecg_framer_destroy(uniecg_framer* framer);

/* Parses all of `bytes`; an unfinished frame waits for the next call. */
void uniecg_framer_push(uniecg_framer* framer, const uint8_t* bytes, size_t size);

/* Samples ready to pull. */
size_t uniecg_framer_available(const uniecg_framer* framer);

/* Takes up to max_samples, returns how many. Any output may be NULL.
 * millivolts, counts: channel c, sample k at [c * max_samples + k].
 * electrodes_off: bit c set while channel c's electrode is off.
 * positions: sample numbers from 0; a step above 1 is a gap, lost on the wire or overflowed. */
size_t uniecg_framer_pull(uniecg_framer* framer, size_t max_samples, float* millivolts, int32_t* counts,
                          uint32_t* electrodes_off, uint64_t* positions);

/* Takes the oldest message into `bytes` (at most `size`), returns its length, 0 if there is none. */
size_t uniecg_framer_pull_message(uniecg_framer* framer, uint8_t* bytes, size_t size);

void uniecg_framer_counters(const uniecg_framer* framer, uniecg_counters* counters);

#ifdef __cplusplus
}
#endif

#endif /* UNIECG_H_ */
