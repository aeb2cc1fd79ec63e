#include "grammar.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "json.h"
#include "uniecg.h"

namespace uniecg {
namespace {

constexpr std::int64_t kFrameEnd = static_cast<std::int64_t>(kMaxFrame);
constexpr std::int64_t kWord = std::int64_t{1} << 32;

std::size_t Size(const JsonNode& node, std::int64_t min, std::int64_t max) {
  return static_cast<std::size_t>(node.Integer(min, max));
}

// A byte of every frame of at least `length` bytes; returns how many bytes of a frame it needs.
std::size_t CheckByte(const JsonNode& node, std::int32_t byte, std::size_t length, std::size_t shift = 0) {
  const auto frame = static_cast<std::int64_t>(length), moved = static_cast<std::int64_t>(shift);
  const bool inside = byte >= 0 ? byte + moved < frame : byte >= -frame && byte + moved < 0;
  if (!inside) {
    node.Refuse("reads byte " + std::to_string(byte) + (shift > 0 ? " and on" : "") +
                ", outside a frame of " + std::to_string(length) + " bytes");
  }
  return static_cast<std::size_t>(byte >= 0 ? byte + moved + 1 : -std::int64_t{byte});
}

std::int32_t ReadByte(const JsonNode& node) {
  return static_cast<std::int32_t>(node.Integer(-kFrameEnd, kFrameEnd));
}

std::vector<Bits> ReadRuns(const JsonNode& node, unsigned max_width) {
  std::vector<Bits> runs;
  unsigned width = 0;
  for (const JsonNode& item : node.Items(1, 32)) {
    const std::vector<JsonNode> parts = item.Items(3, 3);
    const auto high = static_cast<unsigned>(parts[1].Integer(0, 7));
    runs.push_back({ReadByte(parts[0]), high, static_cast<unsigned>(parts[2].Integer(0, high))});
    width += runs.back().high - runs.back().low + 1;
  }
  if (width > max_width) {
    node.Refuse("has " + std::to_string(width) + " bits, at most " + std::to_string(max_width) +
                " are possible");
  }
  return runs;
}

// A field of unsigned bits within frames of `length` bytes; `needed` grows to the bytes that it needs.
Field ReadField(const JsonNode& node, unsigned max_width, std::size_t length, std::size_t* needed) {
  const std::vector<Bits> runs = ReadRuns(node, max_width);
  for (const Bits& run : runs) *needed = std::max(*needed, CheckByte(node, run.byte, length));
  return Field(runs, false);
}

Match ReadMatch(const JsonNode& node, std::size_t length, std::size_t* needed) {
  const std::vector<JsonNode> parts = node.Items(3, 3);
  const Match match{ReadByte(parts[0]), static_cast<std::uint8_t>(parts[1].Integer(0, 255)),
                    static_cast<std::uint8_t>(parts[2].Integer(0, 255))};
  if ((match.value & ~match.mask) != 0)
    node.Refuse("the value has bits outside the mask, so that nothing matches");
  *needed = std::max(*needed, CheckByte(node, match.byte, length));
  return match;
}

std::vector<Match> ReadMatches(const JsonNode& node, std::size_t length, std::size_t* needed) {
  std::vector<Match> matches;
  for (const JsonNode& item : node.Items(0, 64)) matches.push_back(ReadMatch(item, length, needed));
  return matches;
}

std::vector<std::uint8_t> ReadHex(const JsonNode& node, std::size_t max_bytes) {
  const std::string& text = node.Text();
  const std::string digits = "0123456789abcdef";
  std::vector<std::uint8_t> bytes;
  for (std::size_t k = 0; k < text.size(); k += 2) {
    const std::size_t high = digits.find(static_cast<char>(text[k] | 0x20));
    const std::size_t low =
        k + 1 < text.size() ? digits.find(static_cast<char>(text[k + 1] | 0x20)) : digits.npos;
    if (high == digits.npos || low == digits.npos)
      node.Refuse("expected pairs of hexadecimal digits such as \"e8\"");
    bytes.push_back(static_cast<std::uint8_t>(high << 4 | low));
  }
  if (bytes.size() > max_bytes) node.Refuse("at most " + std::to_string(max_bytes) + " bytes are possible");
  return bytes;
}

void ReadLength(const JsonNode& node, FrameGrammar* frame) {
  const auto shortest = std::max<std::int64_t>(1, static_cast<std::int64_t>(frame->sync.size()));
  if (node.IsNumber()) {
    frame->fixed_length = frame->min_length = frame->max_length = Size(node, shortest, kFrameEnd);
    return;
  }
  node.AllowOnly({"bits", "adds", "min", "max"});
  frame->min_length = Size(node["min"], shortest, kFrameEnd);
  frame->max_length = Size(node["max"], static_cast<std::int64_t>(frame->min_length), kFrameEnd);
  frame->length_adds = node["adds"].Integer(-kFrameEnd, kFrameEnd);
  const JsonNode bits = node["bits"];
  for (const Bits& run : ReadRuns(bits, 16)) {
    if (run.byte < 0) bits.Refuse("a length counts its bytes from the start of the frame");
  }
  frame->length = ReadField(bits, 16, frame->min_length, &frame->length_end);
}

Checksum ReadChecksum(const JsonNode& node, std::size_t length) {
  node.AllowOnly({"kind", "byte", "first", "last", "invert"});
  Checksum checksum;
  const std::string& kind = node["kind"].Text();
  if (kind == "sum8") {
    checksum.kind = Checksum::Kind::kSum8;
  } else if (kind == "xor8") {
    checksum.kind = Checksum::Kind::kXor8;
  } else if (kind == "crc4") {
    checksum.kind = Checksum::Kind::kCrc4;
  } else {
    node["kind"].Refuse("expected \"sum8\", \"xor8\" or \"crc4\"");
  }
  const bool whole = checksum.kind == Checksum::Kind::kCrc4;  // unless said otherwise
  checksum.byte = ReadByte(node["byte"]);
  checksum.first = whole && !node.Has("first") ? 0 : ReadByte(node["first"]);
  checksum.last = whole && !node.Has("last") ? -1 : ReadByte(node["last"]);
  checksum.invert = node.Has("invert") && node["invert"].Boolean();
  for (const std::int32_t byte : {checksum.byte, checksum.first, checksum.last})
    CheckByte(node, byte, length);
  if (At(checksum.first, length) > At(checksum.last, length))
    node.Refuse("its first byte lies after its last");
  return checksum;
}

void ReadKinds(const JsonNode& node, FrameGrammar* frame) {
  if (!node.Has("kind")) {
    if (node.Has("packets"))
      node["packets"].Refuse("means nothing where \"kind\" does not tell packets apart");
    frame->packets.resize(1);
    return;
  }
  std::size_t needed = 0;
  frame->kind = ReadField(node["kind"], 32, frame->min_length, &needed);
  const JsonNode packets = node["packets"];
  for (const JsonNode& item : packets.Items(1, UNIECG_MAX_PACKETS)) {
    const std::int64_t kind = item.Integer(0, kWord - 1);
    for (const Packet& other : frame->packets) {
      if (other.kind == kind) item.Refuse("stands twice");
    }
    frame->packets.push_back({kind, 0});
  }
}

// The keys that the counters of frames and lines have in common.
Counter ReadCounter(const JsonNode& node) {
  Counter counter;
  counter.modulus = node["modulus"].Integer(2, kWord);
  if (node.Has("step")) counter.step = node["step"].Integer(1, counter.modulus / 2);
  return counter;
}

void ReadFrameCounter(const JsonNode& node, FrameGrammar* frame) {
  node.AllowOnly({"bits", "modulus", "step"});
  std::size_t needed = 0;
  frame->counter_field = ReadField(node["bits"], 32, frame->max_length, &needed);
  for (Packet& packet : frame->packets) packet.needed = std::max(packet.needed, needed);
  frame->counter = ReadCounter(node);
  const unsigned width = frame->counter_field.width();
  if (frame->counter.modulus > std::int64_t{1} << width) {
    node["modulus"].Refuse("does not fit into " + std::to_string(width) + " bits");
  }
}

FrameGrammar ReadFrame(const JsonNode& node) {
  node.AllowOnly({"sync", "length", "header", "footer", "kind", "packets", "counter", "checksum", "samples",
                  "stride", "confirm"});
  FrameGrammar frame;
  std::size_t needed = 0;  // of constants: within the shortest frame in any case
  frame.sync = ReadHex(node["sync"], UNIECG_MAX_SYNC);
  ReadLength(node["length"], &frame);
  if (node.Has("header")) frame.header = ReadMatches(node["header"], frame.min_length, &needed);
  if (node.Has("footer")) frame.footer = ReadMatches(node["footer"], frame.min_length, &needed);
  if (node.Has("checksum")) frame.checksum = ReadChecksum(node["checksum"], frame.min_length);
  ReadKinds(node, &frame);
  if (node.Has("counter")) ReadFrameCounter(node["counter"], &frame);
  if (frame.packets.size() > 1 && !frame.counter.present()) {
    node.Refuse("several packets make one sample, which needs a counter to tell that they belong together");
  }
  if (frame.sync.empty() && (frame.checksum.kind == Checksum::Kind::kNone || !frame.counter.present())) {
    node["sync"].Refuse("may be empty only where a checksum and a counter find the frame");
  }
  if (node.Has("samples")) frame.samples = Size(node["samples"], 1, kFrameEnd);
  if (node.Has("stride")) frame.stride = Size(node["stride"], 0, kFrameEnd);
  if (frame.samples > 1 && frame.stride == 0)
    node.Refuse("several samples in a frame need a \"stride\" of at least 1");
  if (node.Has("confirm")) frame.confirm = Size(node["confirm"], 0, UNIECG_MAX_CONFIRM);
  return frame;
}

LineGrammar ReadLines(const JsonNode& node) {
  node.AllowOnly({"separator", "columns", "off", "max", "counter"});
  LineGrammar lines;
  const std::string& separator = node["separator"].Text();
  if (separator.size() != 1 || std::string(",;\t |").find(separator) == std::string::npos) {
    node["separator"].Refuse("expected one of , ; | a space or a tab");
  }
  lines.separator = separator[0];
  lines.columns = Size(node["columns"], 1, UNIECG_MAX_COLUMNS);
  lines.max_length = Size(node["max"], 1, static_cast<std::int64_t>(kMaxLine));
  lines.has_off = node.Has("off");
  if (lines.has_off) lines.off = node["off"].Text();
  if (lines.has_off && (lines.off.empty() || lines.off.find_first_of("\r\n") != std::string::npos)) {
    node["off"].Refuse("expected a line that is not empty, without its end");
  }
  if (node.Has("counter")) {
    const JsonNode counter = node["counter"];
    counter.AllowOnly({"column", "modulus", "step"});
    lines.counter = ReadCounter(counter);
    lines.counter_column = Size(counter["column"], 0, static_cast<std::int64_t>(lines.columns) - 1);
  }
  return lines;
}

void ReadFrameChannel(const JsonNode& node, FrameGrammar* frame, Channel* channel) {
  node.AllowOnly({"lead", "bits", "signed", "packet", "offset", "mv_per_count", "electrode"});
  channel->packet =
      node.Has("packet") ? Size(node["packet"], 0, static_cast<std::int64_t>(frame->packets.size()) - 1) : 0;
  std::size_t* needed = &frame->packets[channel->packet].needed;
  const bool is_signed = node.Has("signed") && node["signed"].Boolean();
  const std::vector<Bits> runs = ReadRuns(node["bits"], is_signed ? 32 : 31);
  const std::size_t shift = (frame->samples - 1) * frame->stride;
  for (const Bits& run : runs)
    *needed = std::max(*needed, CheckByte(node, run.byte, frame->max_length, shift));
  channel->value = Field(runs, is_signed);
  if (!node.Has("electrode")) return;
  const JsonNode electrode = node["electrode"];
  const std::vector<JsonNode> items = electrode.Items(1, 64);
  if (items[0].IsArray()) {
    channel->electrode = ReadMatches(electrode, frame->max_length, needed);
  } else {
    channel->electrode = {ReadMatch(electrode, frame->max_length, needed)};
  }
}

void ReadLineChannel(const JsonNode& node, const LineGrammar& lines, Channel* channel) {
  node.AllowOnly({"lead", "column", "offset", "mv_per_count"});
  channel->column = Size(node["column"], 0, static_cast<std::int64_t>(lines.columns) - 1);
}

Channel ReadChannel(const JsonNode& node, Grammar* grammar) {
  Channel channel;
  channel.lead = node["lead"].Text();
  channel.offset = node["offset"].Number();
  channel.mv_per_count = node["mv_per_count"].Number();
  if (channel.mv_per_count == 0) node["mv_per_count"].Refuse("must not be 0");
  if (auto* frame = std::get_if<FrameGrammar>(&grammar->layout)) {
    ReadFrameChannel(node, frame, &channel);
  } else {
    ReadLineChannel(node, std::get<LineGrammar>(grammar->layout), &channel);
  }
  return channel;
}

}  // namespace

std::uint64_t Counter::Advance(std::int64_t from, std::int64_t to) const {
  const std::int64_t ticks = ((to - from) % modulus + modulus) % modulus;
  const std::int64_t frames = (ticks + step / 2) / step;
  return static_cast<std::uint64_t>(frames > 0 ? frames : (modulus + step / 2) / step);
}

bool Counter::InStep(std::int64_t from, std::int64_t to, std::uint64_t frames) const {
  const auto ticks = static_cast<std::int64_t>(frames % static_cast<std::uint64_t>(modulus)) * step % modulus;
  const std::int64_t late = ((to - from - ticks) % modulus + modulus) % modulus;
  return 2 * late < step || 2 * (modulus - late) <= step;
}

Grammar ReadGrammar(std::string_view json) {
  const Json text = ParseJson(json);
  const JsonNode root(text);
  if (root["uniecg"].Number() != 2) root["uniecg"].Refuse("expected version 2 of the grammar");
  Grammar grammar;
  grammar.fs = root["fs"].Number();
  if (!(grammar.fs > 0)) root["fs"].Refuse("expected a rate above 0 Hz");
  if (root.Has("frame") == root.Has("text")) root.Refuse("expected either \"frame\" or \"text\"");
  if (root.Has("frame")) {
    grammar.layout = ReadFrame(root["frame"]);
  } else {
    grammar.layout = ReadLines(root["text"]);
  }
  for (const JsonNode& item : root["channels"].Items(1, UNIECG_MAX_CHANNELS)) {
    grammar.channels.push_back(ReadChannel(item, &grammar));
  }
  return grammar;
}

}  // namespace uniecg
