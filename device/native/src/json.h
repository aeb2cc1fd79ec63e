// A strict reader of small JSON texts (RFC 8259): bounded, UTF-8, no key twice.
#ifndef UNIECG_JSON_H_
#define UNIECG_JSON_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace uniecg {

constexpr std::size_t kMaxJsonText = std::size_t{256} << 10;
constexpr unsigned kMaxJsonDepth = 16;

struct Json {
  enum class Kind { kNull, kBoolean, kNumber, kString, kArray, kObject };

  Kind kind = Kind::kNull;
  bool boolean = false;
  double number = 0;
  std::string text;
  std::vector<std::string> keys;  // of an object
  std::vector<Json> items;        // an array's, or an object's values
};

// Throws std::invalid_argument with the line and column of what is wrong.
Json ParseJson(std::string_view text);

// A value and the path that leads to it. Whatever is not as asked for is refused: std::invalid_argument
// with one sentence that begins with the path. Keeps a reference to the value.
class JsonNode {
 public:
  explicit JsonNode(const Json& value, std::string path = "") : value_(value), path_(std::move(path)) {}

  [[noreturn]] void Refuse(const std::string& sentence) const;

  bool IsObject() const { return value_.kind == Json::Kind::kObject; }
  bool IsNumber() const { return value_.kind == Json::Kind::kNumber; }
  bool IsArray() const { return value_.kind == Json::Kind::kArray; }

  void AllowOnly(std::initializer_list<std::string_view> keys) const;
  bool Has(std::string_view key) const;  // present and not null
  JsonNode operator[](std::string_view key) const;
  std::vector<JsonNode> Items(std::size_t min, std::size_t max) const;

  double Number() const;
  std::int64_t Integer(std::int64_t min, std::int64_t max) const;
  bool Boolean() const;
  const std::string& Text() const;

 private:
  void Expect(Json::Kind kind) const;
  const Json* Find(std::string_view key) const;

  const Json& value_;
  std::string path_;
};

}  // namespace uniecg

#endif  // UNIECG_JSON_H_
