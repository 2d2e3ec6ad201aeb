// The main of every GoogleTest program. Under CI=true a skipped test fails the run: a skip is for laptops, and where nobody looks
// at it a feature can stay untested for months. (pytest's: tests/conftest.py.)
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>

namespace {

bool in_ci() {
  const char* ci = std::getenv("CI");
  return ci != nullptr && std::string_view(ci) == "true";
}

// Counted here because a skip in SetUpTestSuite is in none of GoogleTest's own counts.
class Skips : public testing::EmptyTestEventListener {
 public:
  int seen = 0;

 private:
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.skipped()) return;
    ++seen;
    std::printf("skipped under CI, where nothing may be: %s\n", result.message());
  }
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  auto skips = std::make_unique<Skips>();
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (in_ci()) listeners.Append(skips.get());
  const int result = RUN_ALL_TESTS();
  if (in_ci()) listeners.Release(skips.get());
  if (skips->seen == 0) return result;
  std::printf("%d skipped under CI=true: this run fails\n", skips->seen);
  return 1;
}
