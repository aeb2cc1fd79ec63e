#include "lanes.h"

#include <algorithm>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#define UNIECG_LANES __attribute__((target("ssse3")))
#elif defined(__aarch64__) && defined(__ARM_NEON)
#include <arm_neon.h>
#define UNIECG_LANES
#endif

namespace uniecg {

bool Lanes::Supported() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("ssse3") != 0;
#elif defined(UNIECG_LANES)
  return true;
#else
  return false;
#endif
}

std::optional<Lanes::Layout> Lanes::LayoutOf(const Field& field, std::size_t length) {
  Layout layout;
  for (auto part = field.parts().rbegin(); part != field.parts().rend(); ++part) {
    const std::uint64_t bits = RotateLeft(part->mask, part->right);  // of the eight bytes from part->byte on
    const std::size_t before = layout.bytes.size(),
                      size = 8 - static_cast<unsigned>(__builtin_ctzll(bits)) / 8;
    if (before + size > 4) return std::nullopt;
    for (std::size_t k = 0; k < size; ++k) layout.bytes.push_back(At(part->byte, length) + k);
    const int right = __builtin_ctzll(bits >> (32 + 8 * before)) - __builtin_ctzll(part->mask);
    if (layout.moves.empty() || layout.moves.back().right != right) layout.moves.push_back({right, 0});
    layout.moves.back().mask |= static_cast<std::uint32_t>(part->mask);
  }
  return layout;
}

std::optional<Lanes> Lanes::Of(const Column* columns, std::size_t size, std::size_t length) {
  std::vector<Layout> layouts;
  Lanes lanes;
  lanes.first_ = length;
  for (std::size_t k = 0; k < size; ++k) {
    std::optional<Layout> layout = LayoutOf(columns[k].value, length);
    if (!layout) return std::nullopt;
    layouts.push_back(*std::move(layout));
    const bool alike = layouts[k].moves == layouts[0].moves;
    if (!alike || columns[k].value.sign() != columns[0].value.sign()) return std::nullopt;
    for (const std::size_t byte : layouts[k].bytes) lanes.first_ = std::min(lanes.first_, byte);
  }
  lanes.moves_ = layouts[0].moves;
  lanes.width_ = columns[0].value.width();
  lanes.signed_ = columns[0].value.sign() != 0;
  lanes.shuffle_.fill(0x80);  // which gives 0
  for (std::size_t k = 0; k < kWidth; ++k) {
    const std::size_t column =
        std::min(k, size - 1);  // spare lanes repeat the last one, which needs no branch
    lanes.channels_[k] = columns[column].channel;
    for (std::size_t b = 0; b < layouts[column].bytes.size(); ++b) {
      const std::size_t byte = layouts[column].bytes[b] - lanes.first_;
      if (byte >= lanes.shuffle_.size()) return std::nullopt;
      lanes.shuffle_[4 * k + 3 - b] =
          static_cast<std::uint8_t>(byte);  // in memory the most significant is last
    }
  }
  return lanes;
}

#if defined(UNIECG_LANES)
namespace {

using Vector = std::uint32_t __attribute__((vector_size(16)));
using SignedVector = std::int32_t __attribute__((vector_size(16)));

UNIECG_LANES inline Vector Shuffle(const std::uint8_t* bytes, Vector order) {
#if defined(__x86_64__)
  const __m128i word = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
  return reinterpret_cast<Vector>(_mm_shuffle_epi8(word, reinterpret_cast<__m128i>(order)));
#else
  return reinterpret_cast<Vector>(vqtbl1q_u8(vld1q_u8(bytes), reinterpret_cast<uint8x16_t>(order)));
#endif
}

// Rows to columns.
UNIECG_LANES inline void Transpose(Vector* rows) {
#if defined(__x86_64__)
  __m128 r0 = reinterpret_cast<__m128>(rows[0]), r1 = reinterpret_cast<__m128>(rows[1]);
  __m128 r2 = reinterpret_cast<__m128>(rows[2]), r3 = reinterpret_cast<__m128>(rows[3]);
  _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
  rows[0] = reinterpret_cast<Vector>(r0);
  rows[1] = reinterpret_cast<Vector>(r1);
  rows[2] = reinterpret_cast<Vector>(r2);
  rows[3] = reinterpret_cast<Vector>(r3);
#else
  const uint32x4x2_t low = vzipq_u32(rows[0], rows[2]), high = vzipq_u32(rows[1], rows[3]);
  const uint32x4x2_t first = vzipq_u32(low.val[0], high.val[0]);
  const uint32x4x2_t last = vzipq_u32(low.val[1], high.val[1]);
  rows[0] = first.val[0];
  rows[1] = first.val[1];
  rows[2] = last.val[0];
  rows[3] = last.val[1];
#endif
}

}  // namespace

// `kMoves`: how many there are, so that they are kept in registers.
template <std::size_t kMoves, bool kSigned>
UNIECG_LANES void Lanes::ReadMoves(const std::uint8_t* frames, std::size_t length, std::size_t count,
                                   std::int32_t* counts, std::size_t row) const {
  std::array<Move, kMoves> moves;
  std::copy_n(moves_.begin(), kMoves, moves.begin());
  Vector order;
  std::memcpy(&order, shuffle_.data(), sizeof(order));
  std::int32_t* out[kWidth];
  for (std::size_t c = 0; c < kWidth; ++c) out[c] = counts + channels_[c] * row;
  const std::uint8_t* bytes = frames + first_;
  // Where one move is all, two shifts do it and the sign too: bits above the value out, those below it out.
  const int spare = 32 - static_cast<int>(width_), above = spare - moves[0].right;
  for (std::size_t k = 0; k < count; k += kWidth) {
    Vector values[kWidth];
    for (Vector& value : values) {
      const Vector word = Shuffle(bytes, order);
      bytes += length;
      if (kMoves == 1) {
        value = word << above;
      } else {
        value = Vector{};
        for (const Move& move : moves) value |= word >> move.right & move.mask;
        if (kSigned) value = value << spare;
      }
      if (kSigned) {
        value = reinterpret_cast<Vector>(reinterpret_cast<SignedVector>(value) >> spare);
      } else if (kMoves == 1) {
        value = value >> spare;
      }
    }
    Transpose(values);
    for (std::size_t c = 0; c < kWidth; ++c) std::memcpy(out[c] + k, &values[c], sizeof(Vector));
  }
}

void Lanes::Read(const std::uint8_t* frames, std::size_t length, std::size_t count, std::int32_t* counts,
                 std::size_t row) const {
  switch (2 * moves_.size() + (signed_ ? 1 : 0)) {
    case 2:
      return ReadMoves<1, false>(frames, length, count, counts, row);
    case 3:
      return ReadMoves<1, true>(frames, length, count, counts, row);
    case 4:
      return ReadMoves<2, false>(frames, length, count, counts, row);
    case 5:
      return ReadMoves<2, true>(frames, length, count, counts, row);
    case 6:
      return ReadMoves<3, false>(frames, length, count, counts, row);
    case 7:
      return ReadMoves<3, true>(frames, length, count, counts, row);
    case 8:
      return ReadMoves<4, false>(frames, length, count, counts, row);
    default:
      return ReadMoves<4, true>(frames, length, count, counts, row);
  }
}
#else
void Lanes::Read(const std::uint8_t*, std::size_t, std::size_t, std::int32_t*, std::size_t) const {}
#endif

}  // namespace uniecg
