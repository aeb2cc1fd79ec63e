// Reads samples written as lines of decimal numbers.
#ifndef UNIECG_LINE_READER_H_
#define UNIECG_LINE_READER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "grammar.h"
#include "output.h"

namespace uniecg {

class LineReader {
 public:
  LineReader(LineGrammar grammar, std::vector<Channel> channels);

  void Push(const std::uint8_t* bytes, std::size_t size, Output* output);

 private:
  void EndLine(Output* output);
  void SkipLine(std::size_t bytes, Output* output);
  bool ParseColumns(std::string_view line);
  bool Accept(std::string_view line, bool off, Output* output);

  const LineGrammar grammar_;
  const std::vector<Channel> channels_;
  std::string line_;       // without its \n
  bool overlong_ = false;  // and counted as skipped so far
  bool joining_ = true;    // no \n seen yet
  bool found_ = false;     // a valid line has been seen
  bool skipping_ = false;  // since the last valid one
  std::uint64_t position_ = 0;
  bool counting_ = false;  // a counter has been seen
  std::int64_t last_counter_ = 0;
  std::string last_line_;
  std::vector<std::int32_t> columns_;
};

}  // namespace uniecg

#endif  // UNIECG_LINE_READER_H_
