#include "agent/backup_count.hpp"

#include <algorithm>
#include <utility>

namespace roost::agent {

namespace {

constexpr std::size_t kCountDepth = 200;  // an open directory each
constexpr std::int64_t kCountMax = 20'000'000;

}  // namespace

class TreeCount::Visitor final : public TreeVisitor {
 public:
  explicit Visitor(TreeCount& count) : count_(count) {}
  Status directory(const std::string&, const struct stat&) override { return add(0); }
  Status symlink(const std::string&, const std::string&, const struct stat&) override { return add(0); }
  Status file(const std::string&, const DirectoryRef&, const struct stat& looked) override { return add(looked.st_size); }
  Status skipped(const char*, const char*, const std::string& path) override {
    const auto depth = static_cast<std::size_t>(std::count(path.begin(), path.end(), '/'));
    return depth < kCountDepth - 1 ? Status() : Status(Code::unsupported, "too deep to be counted");
  }

 private:
  Status add(std::int64_t bytes) {
    ++count_.files_;
    count_.bytes_ += bytes;
    if (count_.stop_.load(std::memory_order_relaxed)) return {Code::cancelled, "no longer of interest"};
    return count_.files_ < kCountMax ? Status() : Status(Code::unsupported, "too many to be counted");
  }
  TreeCount& count_;
};

Result<std::unique_ptr<TreeCount>> TreeCount::start(int root, WalkOptions options) {
  options.depth_max = kCountDepth;
  options.live = true;
  std::unique_ptr<TreeCount> count(new TreeCount(std::move(options)));
  ROOST_CHECK(count->thread_.start([self = count.get(), root] {
    Visitor visitor(*self);
    if (walk(root, self->options_, visitor).ok()) self->known_.store(true, std::memory_order_release);
  }));
  return count;
}

TreeCount::~TreeCount() {
  stop_ = true;
  thread_.join();
}

}  // namespace roost::agent
