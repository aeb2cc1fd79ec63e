// The smallest test harness that names what failed: TEST(name) { CHECK_EQ(found, expected); }
#ifndef UNIECG_TESTS_CHECK_H_
#define UNIECG_TESTS_CHECK_H_

#include <iostream>
#include <string>
#include <vector>

struct Test {
  const char* name;
  void (*run)();
};

inline std::vector<Test>& Tests() {
  static std::vector<Test> tests;
  return tests;
}

inline int& Failures() {
  static int failures = 0;
  return failures;
}

struct Registration {
  Registration(const char* name, void (*run)()) { Tests().push_back({name, run}); }
};

#define TEST(name)                                   \
  void name();                                       \
  const Registration name##_registered(#name, name); \
  void name()

#define CHECK_EQ(found, expected)                                                                     \
  do {                                                                                                \
    const auto found_value = (found);                                                                 \
    const decltype(found_value) expected_value = (expected);                                          \
    if (!(found_value == expected_value)) {                                                           \
      std::cerr << __FILE__ << ":" << __LINE__ << ": " #found " is " << +found_value << ", expected " \
                << +expected_value << "\n";                                                           \
      ++Failures();                                                                                   \
    }                                                                                                 \
  } while (false)

#define CHECK_TEXT(found, expected)                                                                    \
  do {                                                                                                 \
    const std::string found_text = (found), expected_text = (expected);                                \
    if (found_text != expected_text) {                                                                 \
      std::cerr << __FILE__ << ":" << __LINE__ << ": " #found " is '" << found_text << "', expected '" \
                << expected_text << "'\n";                                                             \
      ++Failures();                                                                                    \
    }                                                                                                  \
  } while (false)

#endif  // UNIECG_TESTS_CHECK_H_
