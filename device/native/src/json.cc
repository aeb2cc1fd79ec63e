#include "json.h"

#include <algorithm>
#include <cmath>
#include <locale>
#include <set>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace uniecg {
namespace {

// Appends the UTF-8 form of a code point.
void AppendCodePoint(std::string* text, std::uint32_t code) {
  const auto append = [text](std::uint32_t byte) { text->push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    append(code);
    return;
  }
  if (code < 0x800) {
    append(0xC0 | code >> 6);
  } else {
    if (code < 0x10000) {
      append(0xE0 | code >> 12);
    } else {
      append(0xF0 | code >> 18);
      append(0x80 | (code >> 12 & 0x3F));
    }
    append(0x80 | (code >> 6 & 0x3F));
  }
  append(0x80 | (code & 0x3F));
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Json ParseText() {
    Json value = ParseValue(1);
    SkipSpace();
    if (at_ < text_.size()) Refuse("expected the end of the text");
    return value;
  }

 private:
  [[noreturn]] void Refuse(const std::string& sentence) const {
    const std::string_view before = text_.substr(0, at_);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const std::size_t column = at_ - (before.rfind('\n') + 1) + 1;  // npos + 1 is 0
    throw std::invalid_argument("not valid JSON, line " + std::to_string(line) + ", column " +
                                std::to_string(column) + ": " + sentence);
  }

  int Peek() const { return at_ < text_.size() ? static_cast<unsigned char>(text_[at_]) : -1; }

  bool Take(char c) {
    if (Peek() != static_cast<unsigned char>(c)) return false;
    ++at_;
    return true;
  }

  void Require(char c) {
    if (!Take(c)) Refuse(std::string("expected '") + c + "'");
  }

  bool TakeWord(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  void SkipSpace() {
    while (Take(' ') || Take('\n') || Take('\r') || Take('\t')) {
    }
  }

  Json ParseValue(unsigned depth) {
    if (depth > kMaxJsonDepth) Refuse("nested too deeply");
    SkipSpace();
    Json value;
    if (Peek() == '{') {
      ParseObject(&value, depth);
    } else if (Peek() == '[') {
      ParseArray(&value, depth);
    } else if (Peek() == '"') {
      value.kind = Json::Kind::kString;
      value.text = ParseString();
    } else if (Peek() == '-' || IsDigit()) {
      value.kind = Json::Kind::kNumber;
      value.number = ParseNumber();
    } else if (TakeWord("true")) {
      value.kind = Json::Kind::kBoolean;
      value.boolean = true;
    } else if (TakeWord("false")) {
      value.kind = Json::Kind::kBoolean;
    } else if (!TakeWord("null")) {
      Refuse("expected a value");
    }
    return value;
  }

  void ParseArray(Json* value, unsigned depth) {
    value->kind = Json::Kind::kArray;
    Require('[');
    SkipSpace();
    if (Take(']')) return;
    do {
      value->items.push_back(ParseValue(depth + 1));
      SkipSpace();
    } while (Take(','));
    Require(']');
  }

  void ParseObject(Json* value, unsigned depth) {
    value->kind = Json::Kind::kObject;
    Require('{');
    SkipSpace();
    if (Take('}')) return;
    std::set<std::string> seen;
    do {
      SkipSpace();
      std::string key = ParseString();
      if (!seen.insert(key).second) Refuse("the key \"" + key + "\" stands twice");
      SkipSpace();
      Require(':');
      value->items.push_back(ParseValue(depth + 1));
      value->keys.push_back(std::move(key));
      SkipSpace();
    } while (Take(','));
    Require('}');
  }

  bool IsDigit() const { return Peek() >= '0' && Peek() <= '9'; }

  void SkipDigits() {
    if (!IsDigit()) Refuse("expected a digit");
    while (IsDigit()) ++at_;
  }

  double ParseNumber() {
    const std::size_t first = at_;
    Take('-');
    if (!Take('0')) SkipDigits();
    if (Take('.')) SkipDigits();
    if (Take('e') || Take('E')) {
      if (!Take('+')) Take('-');
      SkipDigits();
    }
    std::istringstream digits{std::string(text_.substr(first, at_ - first))};
    digits.imbue(std::locale::classic());  // strtod would ask the program's locale for the decimal point
    double number = 0;
    digits >> number;
    if (digits.fail() || !std::isfinite(number)) Refuse("the number is too large");
    return number;
  }

  std::string ParseString() {
    std::string result;
    Require('"');
    while (!Take('"')) {
      if (Take('\\')) {
        ParseEscape(&result);
      } else {
        TakeUtf8(&result);
      }
    }
    return result;
  }

  void ParseEscape(std::string* result) {
    static constexpr std::string_view kEscapes = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    if (Take('u')) {
      AppendCodePoint(result, ParseCodePoint());
      return;
    }
    const std::size_t which = Peek() < 0 ? kEscapes.npos : kEscapes.find(static_cast<char>(Peek()));
    if (which == kEscapes.npos) Refuse("unknown escape");
    result->push_back(kMeanings[which]);
    ++at_;
  }

  std::uint32_t ParseCodePoint() {
    const std::uint32_t first = ParseHex4();
    if (first < 0xD800 || first > 0xDFFF) return first;
    const bool has_second = first < 0xDC00 && TakeWord("\\u");
    const std::uint32_t second = has_second ? ParseHex4() : 0;
    if (second < 0xDC00 || second > 0xDFFF) Refuse("half of a surrogate pair");
    return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
  }

  std::uint32_t ParseHex4() {
    std::uint32_t value = 0;
    for (int k = 0; k < 4; ++k, ++at_) {
      const int c = Peek();
      const int lower = c | 0x20;
      if (!IsDigit() && !(lower >= 'a' && lower <= 'f')) Refuse("expected four hexadecimal digits");
      value = value << 4 | static_cast<std::uint32_t>(IsDigit() ? c - '0' : lower - 'a' + 10);
    }
    return value;
  }

  // One character as it stands; overlong forms, surrogates and stray bytes are no UTF-8.
  void TakeUtf8(std::string* result) {
    const int lead = Peek();
    if (lead < 0x20) Refuse(lead < 0 ? "the string does not end" : "control character in a string");
    const std::size_t size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    std::uint32_t code = static_cast<std::uint32_t>(lead) & (0xFFU >> (size == 1 ? 1 : size + 1));
    bool valid = (lead < 0x80 || lead >= 0xC2) && lead <= 0xF4 && text_.size() - at_ >= size;
    for (std::size_t k = 1; valid && k < size; ++k) {
      const auto byte = static_cast<unsigned char>(text_[at_ + k]);
      valid = (byte & 0xC0) == 0x80;
      code = code << 6 | (byte & 0x3FU);
    }
    const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    if (!valid || surrogate || (size == 3 && code < 0x800) ||
        (size == 4 && (code < 0x10000 || code > 0x10FFFF))) {
      Refuse("not UTF-8");
    }
    result->append(text_.substr(at_, size));
    at_ += size;
  }

  const std::string_view text_;
  std::size_t at_ = 0;
};

const char* Name(Json::Kind kind) {
  switch (kind) {
    case Json::Kind::kNull:
      return "null";
    case Json::Kind::kBoolean:
      return "true or false";
    case Json::Kind::kNumber:
      return "a number";
    case Json::Kind::kString:
      return "a string";
    case Json::Kind::kArray:
      return "an array";
    case Json::Kind::kObject:
      return "an object";
  }
  return "";
}

}  // namespace

Json ParseJson(std::string_view text) {
  if (text.size() > kMaxJsonText) {
    throw std::invalid_argument("the JSON text is longer than " + std::to_string(kMaxJsonText) + " bytes");
  }
  return Parser(text).ParseText();
}

void JsonNode::Refuse(const std::string& sentence) const {
  throw std::invalid_argument(path_.empty() ? sentence : path_ + ": " + sentence);
}

void JsonNode::Expect(Json::Kind kind) const {
  if (value_.kind != kind) Refuse(std::string("expected ") + Name(kind) + ", found " + Name(value_.kind));
}

const Json* JsonNode::Find(std::string_view key) const {
  Expect(Json::Kind::kObject);
  const auto found = std::find(value_.keys.begin(), value_.keys.end(), key);
  return found == value_.keys.end() ? nullptr
                                    : &value_.items[static_cast<std::size_t>(found - value_.keys.begin())];
}

void JsonNode::AllowOnly(std::initializer_list<std::string_view> keys) const {
  Expect(Json::Kind::kObject);
  for (const std::string& key : value_.keys) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) Refuse("unknown key \"" + key + "\"");
  }
}

bool JsonNode::Has(std::string_view key) const {
  const Json* value = Find(key);
  return value != nullptr && value->kind != Json::Kind::kNull;
}

JsonNode JsonNode::operator[](std::string_view key) const {
  const Json* value = Find(key);
  if (value == nullptr) Refuse("\"" + std::string(key) + "\" is missing");
  return JsonNode(*value, path_ + (path_.empty() ? "" : ".") + std::string(key));
}

std::vector<JsonNode> JsonNode::Items(std::size_t min, std::size_t max) const {
  Expect(Json::Kind::kArray);
  const std::size_t size = value_.items.size();
  if (size < min || size > max) {
    Refuse("expected " + std::to_string(min) + (min == max ? "" : " to " + std::to_string(max)) +
           " items, found " + std::to_string(size));
  }
  std::vector<JsonNode> nodes;
  for (std::size_t k = 0; k < size; ++k)
    nodes.emplace_back(value_.items[k], path_ + "[" + std::to_string(k) + "]");
  return nodes;
}

double JsonNode::Number() const {
  Expect(Json::Kind::kNumber);
  return value_.number;
}

std::int64_t JsonNode::Integer(std::int64_t min, std::int64_t max) const {
  const double number = Number();
  if (std::floor(number) != number || number < static_cast<double>(min) ||
      number > static_cast<double>(max)) {
    std::ostringstream found;
    found.imbue(std::locale::classic());
    found << "expected a whole number from " << min << " to " << max << ", found " << number;
    Refuse(found.str());
  }
  return static_cast<std::int64_t>(number);
}

bool JsonNode::Boolean() const {
  Expect(Json::Kind::kBoolean);
  return value_.boolean;
}

const std::string& JsonNode::Text() const {
  Expect(Json::Kind::kString);
  return value_.text;
}

}  // namespace uniecg
