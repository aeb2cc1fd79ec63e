// Devices of the tests, in the JSON form of a profile.
#ifndef UNIECG_TESTS_PROFILES_H_
#define UNIECG_TESTS_PROFILES_H_

#include <string>
#include <vector>

inline std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  return at == std::string::npos ? "" : text.replace(at, from.size(), to);
}

inline std::string Profile(const std::string& layout, const std::string& channels) {
  return R"({"uniecg": 2, "name": "test", "fs": 500, )" + layout + R"(, "channels": [)" + channels + "]}";
}

// Channels of `bytes` bytes each from byte `first` on, big-endian.
inline std::string BigEndianChannels(int count, int first, int bytes, bool is_signed) {
  std::string channels;
  for (int c = 0; c < count; ++c) {
    std::string runs;
    for (int k = 0; k < bytes; ++k) {
      runs += (k > 0 ? ", [" : "[") + std::to_string(first + c * bytes + k) + ", 7, 0]";
    }
    channels += std::string(c > 0 ? ", " : "") + R"({"lead": "L)" + std::to_string(c) + R"(", "bits": [)" +
                runs + R"(], "signed": )" + (is_signed ? "true" : "false") +
                R"(, "offset": 0, "mv_per_count": 1})";
  }
  return channels;
}

// The 22-byte E8 .. 8E unit: 8 channels of 5 + 7 bits, electrode flags, counter modulo 64, no checksum.
inline std::string E8() {
  std::string channels;
  for (int c = 0; c < 8; ++c) {
    const std::string msb = std::to_string(5 + 2 * c), lsb = std::to_string(6 + 2 * c);
    channels += std::string(c > 0 ? ", " : "") + R"({"lead": "L)" + std::to_string(c) + R"(", "bits": [[)" +
                msb + ", 4, 0], [" + lsb + R"(, 6, 0]], "signed": false, "packet": 0, "offset": 2048, )" +
                R"("mv_per_count": 0.001, "electrode": [)" + msb + ", 32, 32]}";
  }
  return Profile(
      R"("frame": {"sync": "e8", "length": 22, "header": [[2, 255, 17]], "footer": [[-1, 255, 142]],
    "kind": [[3, 7, 0]], "packets": [32], "counter": {"bits": [[1, 5, 0]], "modulus": 64, "step": 1},
    "samples": 1, "stride": 0, "confirm": 0})",
      channels);
}

inline std::string Cyton() {
  return Profile(R"("frame": {"sync": "a0", "length": 33, "footer": [[-1, 240, 192]],
    "counter": {"bits": [[1, 7, 0]], "modulus": 256}})",
                 BigEndianChannels(8, 2, 3, true));
}

// A sample is an odd frame of the board and the even one of the Daisy that follows.
inline std::string Daisy() {
  std::string daisy = BigEndianChannels(1, 2, 3, true);
  daisy = Replaced(Replaced(daisy, "L0", "D0"), R"("offset")", R"("packet": 1, "offset")");
  return Profile(R"("frame": {"sync": "a0", "length": 33, "footer": [[-1, 240, 192]],
    "kind": [[1, 0, 0]], "packets": [1, 0], "counter": {"bits": [[1, 7, 0]], "modulus": 256}})",
                 BigEndianChannels(1, 2, 3, true) + ", " + daisy);
}

// No sync byte: CRC-4 and a counter of four bits, both in the last byte.
inline std::string Bitalino(int confirm = 2) {
  const std::string bits[] = {"[6, 3, 0], [5, 7, 2]", "[5, 1, 0], [4, 7, 0]", "[3, 7, 0], [2, 7, 6]",
                              "[2, 5, 0], [1, 7, 4]", "[1, 3, 0], [0, 7, 6]", "[0, 5, 0]"};
  std::string channels;
  for (const std::string& runs : bits) {
    channels += std::string(channels.empty() ? "" : ", ") + R"({"lead": "A", "bits": [)" + runs +
                R"(], "offset": 0, "mv_per_count": 1})";
  }
  return Profile(R"("frame": {"sync": "", "length": 8, "checksum": {"kind": "crc4", "byte": -1},
    "counter": {"bits": [[-1, 7, 4]], "modulus": 16}, "confirm": )" +
                     std::to_string(confirm) + "}",
                 channels);
}

inline std::string Olimex() {
  return Profile(R"("frame": {"sync": "a55a", "length": 17, "header": [[2, 255, 2]],
    "counter": {"bits": [[3, 7, 0]], "modulus": 256}})",
                 BigEndianChannels(6, 4, 2, false));
}

// Counted frames: those of 4 bytes carry a sample, those of 18 vital signs.
inline std::string Bmd101() {
  return Profile(
      R"("frame": {"sync": "aaaa", "length": {"bits": [[2, 7, 0]], "adds": 4, "min": 8, "max": 173},
    "kind": [[2, 7, 0], [3, 7, 0]], "packets": [1152],
    "checksum": {"kind": "sum8", "byte": -1, "first": 3, "last": -2, "invert": true}})",
      BigEndianChannels(1, 5, 2, true));
}

// AA 55 | length u16 LE of the payload | two samples of i16 BE | sum of payload | 0B
inline std::string Counted() {
  return Profile(R"("frame": {"sync": "AA55", "length": {"bits": [[3, 7, 0], [2, 7, 0]], "adds": 6, "min": 10,
    "max": 64}, "footer": [[-1, 255, 11]], "checksum": {"kind": "sum8", "byte": -2, "first": 4, "last": -3},
    "samples": 2, "stride": 2})",
                 BigEndianChannels(1, 4, 2, true));
}

// AA 55 | counter | 4 x i16 BE | sum of all before
inline std::string Sealed(int confirm = 0) {
  return Profile(R"("frame": {"sync": "aa55", "length": 12, "counter": {"bits": [[2, 7, 0]], "modulus": 256},
    "checksum": {"kind": "sum8", "byte": -1, "first": 0, "last": -2}, "confirm": )" +
                     std::to_string(confirm) + "}",
                 BigEndianChannels(4, 3, 2, true));
}

// 00 | time u24 LE, 64 ticks a sample | i24 BE; nothing else to know a frame by
inline std::string Timestamped() {
  return Profile(R"("frame": {"sync": "00", "length": 7, "confirm": 2,
    "counter": {"bits": [[3, 7, 0], [2, 7, 0], [1, 7, 0]], "modulus": 16777216, "step": 64}})",
                 BigEndianChannels(1, 4, 3, true));
}

inline std::string Lines(const std::string& more = "", int columns = 1, const std::string& separator = ",") {
  std::string channels;
  for (int c = 0; c < columns; ++c) {
    channels += std::string(c > 0 ? ", " : "") + R"({"lead": "L", "column": )" + std::to_string(c) +
                R"(, "offset": 0, "mv_per_count": 1})";
  }
  return Profile(R"("text": {"separator": ")" + separator + R"(", "columns": )" + std::to_string(columns) +
                     R"(, "off": "!", "max": 20)" + more + "}",
                 channels);
}

inline std::string CountedLines() { return Lines(R"(, "counter": {"column": 0, "modulus": 256})", 2); }

inline std::vector<std::string> AllProfiles() {
  return {E8(),      Cyton(),   Daisy(),   Bitalino(),    Olimex(), Bmd101(),
          Counted(), Sealed(0), Sealed(2), Timestamped(), Lines(),  CountedLines()};
}

#endif  // UNIECG_TESTS_PROFILES_H_
