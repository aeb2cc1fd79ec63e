// JSON that is none, and profiles that contradict themselves: each refused with one sentence.
#include <string>
#include <vector>

#include "check.h"
#include "framer.h"
#include "json.h"
#include "profiles.h"
#include "uniecg.h"

namespace {

bool Parses(const std::string& text) {
  try {
    uniecg::ParseJson(text);
    return true;
  } catch (const std::invalid_argument&) {
    return false;
  }
}

TEST(json_is_read_strictly) {
  for (const std::string text :
       {"0", "-0.5e+3", " [1, 2]\r\n", "{}", R"({"a": null, "b": [true, false, {}]})",
        R"("\u00e4\ud83d\ude00\n")", "\"\xC3\xA4\xF0\x9F\x98\x80\"", "[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]"}) {
    CHECK_EQ(Parses(text), true);
  }
  for (const std::string text : {"",
                                 " ",
                                 "01",
                                 "1.",
                                 ".5",
                                 "+1",
                                 "1e",
                                 "-",
                                 "nul",
                                 "[1,]",
                                 "[1 2]",
                                 "[",
                                 "{",
                                 "{\"a\"}",
                                 "{\"a\":1,}",
                                 "{a:1}",
                                 "{\"a\":1,\"a\":2}",
                                 "\"",
                                 "\"\n\"",
                                 R"("\x")",
                                 R"("\u12")",
                                 R"("\ud83d")",
                                 R"("\ude00\ud83d")",
                                 "1 2",
                                 "NaN",
                                 "1e999",
                                 "'a'",
                                 "\"\xFF\"",
                                 "\"\xC0\x80\"",
                                 "\"\xED\xA0\x80\"",
                                 "\"\xF4\x90\x80\x80\"",
                                 "\"\xE2\x82\"",
                                 "[[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]]",
                                 "// comment\n1",
                                 "1,",
                                 "\xEF\xBB\xBF{}"}) {
    CHECK_EQ(Parses(text), false);
  }
  CHECK_EQ(uniecg::ParseJson("-12.5e1").number, -125.0);
  CHECK_TEXT(uniecg::ParseJson(R"("a\/\u00e4\ud83d\ude00")").text, "a/\xC3\xA4\xF0\x9F\x98\x80");
}

TEST(json_without_bounds_is_refused) {
  CHECK_EQ(Parses(std::string(1 << 20, '[')), false);
  CHECK_EQ(Parses("\"" + std::string(256 << 10, 'a') + "\""), false);
  CHECK_EQ(Parses("\"" + std::string(255 << 10, 'a') + "\""), true);
  CHECK_TEXT(Framer("{\n \"fs\": 1e999}").error(),
             "not valid JSON, line 2, column 13: the number is too large");
  CHECK_TEXT(Framer(std::string(1 << 20, ' ')).error(), "the JSON text is longer than 262144 bytes");
}

TEST(every_profile_is_accepted) {
  for (const std::string& profile : AllProfiles()) CHECK_TEXT(Framer(profile).error(), "");
}

TEST(a_profile_that_contradicts_itself_is_refused_with_its_place_and_reason) {
  const struct {
    std::string profile, from, to, error;
  } cases[] = {
      {E8(), R"("uniecg": 2)", R"("uniecg": 3)", "uniecg: expected version 2 of the grammar"},
      {E8(), R"("uniecg": 2)", R"("uniecg": "2")", "uniecg: expected a number, found a string"},
      {E8(), R"("fs": 500)", R"("fs": 0)", "fs: expected a rate above 0 Hz"},
      {E8(), R"("frame")", R"("frames")", "expected either \"frame\" or \"text\""},
      {E8(), R"("sync": "e8")", R"("sync": "")",
       "frame.sync: may be empty only where a checksum and a counter find the frame"},
      {E8(), R"("sync": "e8")", R"("sync": "e")",
       "frame.sync: expected pairs of hexadecimal digits such as \"e8\""},
      {E8(), R"("sync": "e8")", R"("sync": "00112233445566778899")",
       "frame.sync: at most 8 bytes are possible"},
      {E8(), R"("length": 22)", R"("length": 12)", "channels[3]: reads byte 12, outside a frame of 12 bytes"},
      {E8(), R"("length": 22)", R"("length": 4097)",
       "frame.length: expected a whole number from 1 to 4096, found 4097"},
      {E8(), "[2, 255, 17]", "[2, 240, 17]",
       "frame.header[0]: the value has bits outside the mask, so that nothing matches"},
      {E8(), "[-1, 255, 142]", "[-23, 255, 142]",
       "frame.footer[0]: reads byte -23, outside a frame of 22 bytes"},
      {E8(), R"("modulus": 64)", R"("modulus": 65)", "frame.counter.modulus: does not fit into 6 bits"},
      {E8(), R"("step": 1)", R"("step": 33)",
       "frame.counter.step: expected a whole number from 1 to 32, found 33"},
      {E8(), R"("packets": [32])", R"("packets": [32, 32])", "frame.packets[1]: stands twice"},
      {E8(), R"("packets": [32],)", "", "frame: \"packets\" is missing"},
      {E8(), R"("packet": 0)", R"("packet": 1)",
       "channels[0].packet: expected a whole number from 0 to 0, found 1"},
      {E8(), R"("confirm": 0)", R"("confirm": 9)",
       "frame.confirm: expected a whole number from 0 to 8, found 9"},
      {E8(), R"("confirm": 0)", R"("confrm": 0)", "frame: unknown key \"confrm\""},
      {E8(), R"("samples": 1)", R"("samples": 2)",
       "frame: several samples in a frame need a \"stride\" of at least 1"},
      {E8(), R"("samples": 1, "stride": 0)", R"("samples": 4, "stride": 5)",
       "channels[1]: reads byte 7 and on, outside a frame of 22 bytes"},
      {E8(), "[5, 4, 0]", "[5, 4, 5]",
       "channels[0].bits[0][2]: expected a whole number from 0 to 4, found 5"},
      {E8(), "[5, 4, 0]", "[5, 8, 0]",
       "channels[0].bits[0][1]: expected a whole number from 0 to 7, found 8"},
      {E8(), "[5, 4, 0], [6, 6, 0]", "[5, 7, 0], [6, 7, 0], [7, 7, 0], [8, 7, 0]",
       "channels[0].bits: has 32 bits, at most 31 are possible"},
      {E8(), R"("mv_per_count": 0.001)", R"("mv_per_count": 0)", "channels[0].mv_per_count: must not be 0"},
      {Daisy(), R"(, "counter": {"bits": [[1, 7, 0]], "modulus": 256})", "",
       "frame: several packets make one sample, which needs a counter to tell that they belong together"},
      {Bmd101(), R"("min": 8)", R"("min": 200)",
       "frame.length.max: expected a whole number from 200 to 4096, found 173"},
      {Bmd101(), R"("bits": [[2, 7, 0]])", R"("bits": [[-1, 7, 0]])",
       "frame.length.bits: a length counts its bytes from the start of the frame"},
      {Bmd101(), R"("sum8")", R"("md5")", "frame.checksum.kind: expected \"sum8\", \"xor8\" or \"crc4\""},
      {Bmd101(), R"("first": 3, "last": -2)", R"("first": 7, "last": -2)",
       "frame.checksum: its first byte lies after its last"},
      {Lines(), R"("separator": ",")", R"("separator": "x")",
       "text.separator: expected one of , ; | a space or a tab"},
      {Lines(), R"("column": 0)", R"("column": 1)",
       "channels[0].column: expected a whole number from 0 to 0, found 1"},
      {Lines(), R"("off": "!")", R"("off": "")",
       "text.off: expected a line that is not empty, without its end"},
  };
  for (const auto& wrong : cases) {
    const std::string changed = Replaced(wrong.profile, wrong.from, wrong.to);
    CHECK_EQ(changed.empty(), false);
    CHECK_TEXT(Framer(changed).error(), wrong.error);
  }
}

TEST(a_framer_needs_a_profile_and_a_ring) {
  CHECK_EQ(Framer(E8(), 0).valid(), false);
  char error[16] = "";
  CHECK_EQ(uniecg_framer_create(nullptr, 10, error, sizeof(error)) == nullptr, true);
  CHECK_TEXT(error, "a framer needs ");
  CHECK_EQ(uniecg_framer_create("{", 10, nullptr, 0) == nullptr, true);
  uniecg_framer_destroy(nullptr);
}

}  // namespace
