/* libuniecg: from the bytes of a serial line to samples in millivolts, and on to filtered ones and heart
 * beats.
 *
 * A framer executes one device profile. Bytes go in at one end; samples, messages (valid frames that
 * carry no samples, such as acknowledgements) and counters come out at the other. Any bytes are
 * acceptable input: nothing that arrives on the wire can crash it, block it or make it grow. What it
 * decides depends on the bytes alone, never on how they were divided between pushes.
 *
 * Threads. A framer has one producer and one consumer, and they may be two threads:
 *   producer: uniecg_framer_push
 *   consumer: uniecg_framer_pull, uniecg_framer_pull_message
 *   any thread at any time: every function that takes a const uniecg_framer
 *   alone: uniecg_framer_create, uniecg_framer_destroy
 * The two sides never wait for each other, and only create allocates. There is no global state; framers
 * are independent. Profiles, their JSON form and the rules of framing: docs/c-library.md.
 */
#ifndef UNIECG_H_
#define UNIECG_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define UNIECG_API __attribute__((visibility("default")))
#else
#define UNIECG_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define UNIECG_VERSION_MAJOR 0 /* of the library; any change of these functions raises the ABI version */
#define UNIECG_VERSION_MINOR 1
#define UNIECG_VERSION_PATCH 0
#define UNIECG_ABI_VERSION 3

#define UNIECG_MAX_CHANNELS 32  /* so that electrode flags fit in a uint32_t */
#define UNIECG_MAX_SYNC 8       /* bytes */
#define UNIECG_MAX_PACKETS 8    /* kinds of frame that make one sample */
#define UNIECG_MAX_CONFIRM 8    /* frames */
#define UNIECG_MAX_COLUMNS 64   /* numbers in a line of text */
#define UNIECG_MAX_MESSAGE 256  /* bytes kept of a message; longer ones are cut */
#define UNIECG_MESSAGE_QUEUE 16 /* messages kept until pulled */

/* Totals since creation. bytes = those of valid frames (frames, messages, duplicates) + skipped_bytes +
 * those still undecided. For devices that send text, a frame is a line. */
typedef struct uniecg_counters {
  uint64_t bytes;
  uint64_t frames;        /* valid, with samples */
  uint64_t messages;      /* valid, without */
  uint64_t samples;       /* decoded, per channel */
  uint64_t skipped_bytes; /* part of no valid frame */
  uint64_t resyncs;       /* valid frames found again after skipping */
  uint64_t bad_headers; /* sync matched, then a constant, the length, the counter or what followed did not */
  uint64_t bad_footers;
  uint64_t bad_checksums;
  uint64_t counter_gaps;
  uint64_t lost_samples;       /* that the frame counter says went missing, per channel */
  uint64_t overflowed_samples; /* decoded, but the ring was full, per channel */
  uint64_t dropped_messages;   /* the message queue was full */
  uint64_t duplicates;         /* data frames that repeat the one before, counter included; no samples */
} uniecg_counters;

typedef struct uniecg_framer uniecg_framer;

/* UNIECG_ABI_VERSION of the library that runs; a program compares it with that of its header. */
UNIECG_API int uniecg_abi_version(void);

/* profile_json: a device profile in its JSON form, zero-terminated UTF-8 of at most 256 KiB.
 * ring_samples: samples kept until pulled. While the ring is full new samples are counted as
 * overflowed and leave a gap in the positions.
 * NULL if the profile contradicts itself or memory is short; `error` (NULL, or error_size bytes) then
 * holds one sentence that begins with the path of what is wrong, where there is one. */
UNIECG_API uniecg_framer* uniecg_framer_create(const char* profile_json, uint32_t ring_samples, char* error,
                                               size_t error_size);
UNIECG_API void uniecg_framer_destroy(uniecg_framer* framer); /* NULL is allowed */

UNIECG_API double uniecg_framer_rate(const uniecg_framer* framer); /* Hz */
UNIECG_API size_t uniecg_framer_channels(const uniecg_framer* framer);
/* Lives as long as the framer; NULL beyond the last channel. */
UNIECG_API const char* uniecg_framer_lead(const uniecg_framer* framer, size_t channel);

/* Parses all of `bytes`; an unfinished frame waits for the next call. */
UNIECG_API void uniecg_framer_push(uniecg_framer* framer, const uint8_t* bytes, size_t size);

/* Samples ready to pull. */
UNIECG_API size_t uniecg_framer_available(const uniecg_framer* framer);

/* Takes up to max_samples, returns how many. Any output may be NULL.
 * millivolts, counts: channel c, sample k at [c * max_samples + k].
 * electrodes_off: bit c set while channel c's electrode is off.
 * positions: sample numbers from 0; a step above 1 is a gap, lost on the wire or overflowed. */
UNIECG_API size_t uniecg_framer_pull(uniecg_framer* framer, size_t max_samples, float* millivolts,
                                     int32_t* counts, uint32_t* electrodes_off, uint64_t* positions);

/* Takes the oldest message into `bytes` (at most `size`), returns its length, 0 if there is none. */
UNIECG_API size_t uniecg_framer_pull_message(uniecg_framer* framer, uint8_t* bytes, size_t size);

UNIECG_API void uniecg_framer_counters(const uniecg_framer* framer, uniecg_counters* counters);

/* Filters, resamplers and beat detectors. Each belongs to one thread at a time, a function that takes a const
 * one included; different ones are independent. Only create and uniecg_filter_window allocate. Samples are
 * float millivolts, channel c, sample k at [c * samples + k]; NaN where there is none. Create gives NULL if
 * an argument is out of range or memory is short; `error` then says which, as above. Rates: 50 to 10000 Hz.
 * What they do, and how well: docs/signal.md. */

typedef struct uniecg_filter uniecg_filter;

/* band: "monitor" 0.5-40 Hz, "diagnostic" 0.05-150 Hz or "st" 0.05-40 Hz, edges at -3 dB, the upper one at
 * most 0.4 of the rate. mains: a notch at 50 or 60 Hz, or 0 for none. */
UNIECG_API uniecg_filter* uniecg_filter_create(const char* band, int mains, double rate, size_t channels,
                                               char* error, size_t error_size);
UNIECG_API void uniecg_filter_destroy(uniecg_filter* filter); /* NULL is allowed */

/* Goes on with a stream, causally. `out` may be `in`. A missing sample comes out as NaN; the first one, and
 * the first behind missing ones, finds the filter settled at its level. */
UNIECG_API void uniecg_filter_push(uniecg_filter* filter, const float* in, size_t samples, float* out);
UNIECG_API void uniecg_filter_restart(uniecg_filter* filter); /* the next push begins a stream */
/* Filters a finished window forwards and backwards, so that nothing is shifted; independent of the stream.
 * 0 if memory is short. */
UNIECG_API int uniecg_filter_window(const uniecg_filter* filter, const float* in, size_t samples, float* out);

/* What the data are labelled with, such as "0.5-40 Hz, notch 50 Hz, zero phase"; lives as long as the filter.
 */
UNIECG_API const char* uniecg_filter_label(const uniecg_filter* filter, int zero_phase);
/* 1 if ST levels may be read from the result: not behind a causal 0.5 Hz high-pass, which fakes ST shifts. */
UNIECG_API int uniecg_filter_st_safe(const uniecg_filter* filter, int zero_phase);
/* Seconds by which push delays a component of `hz`; window delays none. */
UNIECG_API double uniecg_filter_delay(const uniecg_filter* filter, double hz);
/* The second-order sections of one pass: b0, b1, b2, a1, a2 of each. Returns how many there are, at most 8;
 * `sections` may be NULL. */
UNIECG_API size_t uniecg_filter_sections(const uniecg_filter* filter, int zero_phase, double* sections);

typedef struct uniecg_resampler uniecg_resampler;

/* To the rate times up / down, whole numbers up to 4096 after cancelling. */
UNIECG_API uniecg_resampler* uniecg_resampler_create(uint32_t up, uint32_t down, size_t channels, char* error,
                                                     size_t error_size);
UNIECG_API void uniecg_resampler_destroy(uniecg_resampler* resampler); /* NULL is allowed */
/* Output m is the signal at the time of input m * down / up: nothing is shifted, but an output comes only
 * with the input that lies this many samples behind it. */
UNIECG_API size_t uniecg_resampler_latency(const uniecg_resampler* resampler);
/* Samples per channel that push will write for so many, and finish for the rest. */
UNIECG_API size_t uniecg_resampler_due(const uniecg_resampler* resampler, size_t samples);
UNIECG_API size_t uniecg_resampler_due_at_end(const uniecg_resampler* resampler);
/* out: channel c, sample k at [c * due + k]. NaN makes the outputs that depend on it NaN. */
UNIECG_API void uniecg_resampler_push(uniecg_resampler* resampler, const float* in, size_t samples,
                                      float* out);
/* Ends the signal, as if it stood still behind its last sample; the next push begins another. */
UNIECG_API void uniecg_resampler_finish(uniecg_resampler* resampler, float* out);

typedef struct uniecg_beats uniecg_beats;

#define UNIECG_BEAT_QUEUE 64 /* beats kept until pulled; then the oldest are lost */

typedef struct uniecg_beat {
  uint64_t position; /* number of the sample in which the QRS complex is farthest from its baseline */
  uint32_t lag;      /* samples that had come behind it when it was found */
  float certainty;   /* 0.5..1 */
} uniecg_beat;

/* Finds QRS complexes in any number of leads together. A beat is found at most 300 ms behind the signal, save
 * that of the first 2.3 s after a start or a gap on all leads, in which it learns what a beat looks like. */
UNIECG_API uniecg_beats* uniecg_beats_create(double rate, size_t channels, char* error, size_t error_size);
UNIECG_API void uniecg_beats_destroy(uniecg_beats* beats); /* NULL is allowed */
UNIECG_API void uniecg_beats_push(uniecg_beats* beats, const float* millivolts, size_t samples);
/* Samples that are missing on all channels, however many: as if they had been pushed as NaN. */
UNIECG_API void uniecg_beats_skip(uniecg_beats* beats, uint64_t samples);
/* Takes up to `most` beats, oldest first, returns how many. */
UNIECG_API size_t uniecg_beats_pull(uniecg_beats* beats, uniecg_beat* found, size_t most);

#ifdef __cplusplus
}
#endif

#endif /* UNIECG_H_ */
