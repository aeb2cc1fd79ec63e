// Samples as lines of text.
#include <cstdint>
#include <string>
#include <vector>

#include "check.h"
#include "framer.h"
#include "profiles.h"
#include "uniecg.h"

namespace {

using Counts = std::vector<std::int32_t>;

TEST(a_line_is_a_sample) {
  const Framer framer(Lines());
  framer.PushText("512\r\n  -3 \n+4\n2147483647\n-2147483648\n");
  const Samples samples = framer.Pull();
  CHECK_EQ(samples.counts == (std::vector<Counts>{{512}, {-3}, {4}, {2147483647}, {-2147483647 - 1}}), true);
  CHECK_EQ(samples.positions.back(), 4U);
  CHECK_EQ(framer.Counters().frames, 5U);
  CHECK_EQ(framer.Counters().skipped_bytes, 0U);
}

TEST(the_line_of_an_electrode_that_is_off_is_a_sample_too) {
  const Framer framer(Lines("", 2));
  framer.PushText("1,2\n!\r\n3,4\n!!\n");
  const Samples samples = framer.Pull();
  CHECK_EQ(samples.counts == (std::vector<Counts>{{1, 2}, {0, 0}, {3, 4}}), true);
  CHECK_EQ(samples.electrodes_off == (std::vector<std::uint32_t>{0, 3, 0}), true);
  CHECK_EQ(framer.Counters().bad_headers, 1U);
}

TEST(a_line_that_does_not_parse_is_skipped_and_counted_once) {
  for (const std::string bad :
       {"", "1,2", "x", "1 2", "-", "+-1", "1.5", "2147483648", "99999999999999999999", "0x1", "\t1", "1\r\r",
        "123456789012345678901", "1234567890123456789012345678901234567890"}) {
    const Framer framer(Lines());
    framer.PushText("7\n" + bad + "\n8\n");
    const uniecg_counters counters = framer.Counters();
    CHECK_EQ(counters.bad_headers, 1U);
    CHECK_EQ(counters.skipped_bytes, bad.size() + 1);
    CHECK_EQ(counters.resyncs, 1U);
    CHECK_EQ(framer.Pull().positions == (std::vector<std::uint64_t>{0, 1}), true);
  }
}

TEST(the_line_joined_in_the_middle_is_no_fault) {
  const Framer framer(Lines());
  framer.PushText("x garbage longer than a line may be\n1\n");
  CHECK_EQ(framer.Counters().bad_headers, 0U);
  CHECK_EQ(framer.Counters().skipped_bytes, 36U);
  CHECK_EQ(framer.Counters().resyncs, 0U);
  CHECK_EQ(framer.Counters().samples, 1U);
}

TEST(an_endless_line_takes_no_memory) {
  const Framer framer(Lines());
  framer.PushText("1\n");
  const Bytes ones(1 << 16, '1');
  for (int k = 0; k < 100; ++k) framer.Push(ones);
  CHECK_EQ(framer.Counters().skipped_bytes, std::uint64_t{100} << 16);
  framer.PushText("\n2\n");
  CHECK_EQ(framer.Counters().bad_headers, 1U);
  CHECK_EQ(framer.Counters().samples, 2U);
}

TEST(columns_stand_apart_by_the_separator) {
  const char* const lines[][2] = {
      {",", "1 , 2"}, {";", "1;2"}, {"|", "1|2"}, {" ", " 1   2 "}, {"\\t", "1\t 2"}};
  for (const auto& [separator, line] : lines) {
    const Framer framer(Lines("", 2, separator));
    CHECK_TEXT(framer.error(), "");
    framer.PushText(std::string(line) + "\n");
    CHECK_EQ(framer.Pull().counts == (std::vector<Counts>{{1, 2}}), true);
  }
}

TEST(the_counter_of_lines_finds_gaps_and_duplicates) {
  const Framer framer(CountedLines());
  framer.PushText("254,1\n255,2\n255,2\n0,3\n!\n2,5\n5,6\n256,7\n-1,7\n6,8\n");
  CHECK_EQ(framer.Pull().positions == (std::vector<std::uint64_t>{0, 1, 2, 3, 4, 7, 8}), true);
  CHECK_EQ(framer.Counters().duplicates, 1U);
  CHECK_EQ(framer.Counters().counter_gaps, 1U);
  CHECK_EQ(framer.Counters().lost_samples, 2U);
  CHECK_EQ(framer.Counters().bad_headers, 2U);
}

}  // namespace
