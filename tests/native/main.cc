#include "check.h"

int main() {
  for (const Test& test : Tests()) {
    const int before = Failures();
    test.run();
    std::cout << (Failures() == before ? "ok   " : "FAIL ") << test.name << "\n";
  }
  return Failures() == 0 ? 0 : 1;
}
