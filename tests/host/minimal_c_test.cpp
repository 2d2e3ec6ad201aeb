// The C example as its author would test it: every operation over the loader. It runs twice: as built with the present header,
// and as built with the header of ABI 1.0, which proves that a plugin of then works in the host of now.
#include <gmock/gmock.h>

#include "host/plugin_call.hpp"
#include "plugin_fixture.hpp"

namespace roost {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class MinimalC : public test::PluginFixture, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    archives_ = directory_ / "archives";
    std::filesystem::create_directory(archives_);
    auto loaded = load_plugin(write_manifest(manifest(GetParam(), "backup-minimal-c", "backup")), PluginKind::backup, host_.api);
    ASSERT_TRUE(loaded.ok()) << loaded.error().message;
    plugin_ = *loaded;
    auto opened = Instance::open(plugin_, "test", Json::object({{"directory", archives_.string()}}), {}, in_seconds(60));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    instance_ = *opened;
    collector_ = std::make_unique<Collector>(*plugin_);
  }
  template <class Function>
  Status call(Function function) {
    PluginCall call(*plugin_, in_seconds(60));
    return call.run(*collector_, {1000, 1024, 1 << 20, 1 << 24},
                    [&] { return function(plugin_->backup, instance_->get(), call.raw(), collector_->sink(), call.error()); });
  }
  // Makes an archive of those parts.
  Status put(const std::string& name, const std::vector<std::string>& parts) {
    roost_put* begun = nullptr;
    ROOST_CHECK(call([&](auto& backup, auto* self, auto* raw, auto*, auto* error) {
      return backup.put_begin(self, raw, to_bytes(name), &begun, error);
    }));
    for (const std::string& part : parts) {
      ROOST_CHECK(call([&](auto& backup, auto* self, auto* raw, auto*, auto* error) {
        return backup.put_part(self, raw, begun, to_bytes(part), error);
      }));
    }
    return call([&](auto& backup, auto* self, auto* raw, auto* sink, auto* error) {
      return backup.put_commit(self, raw, begun, sink, error);
    });
  }
  std::vector<std::string> list(const std::string& prefix, const std::string& after, std::uint32_t limit) {
    const Status status = call([&](auto& backup, auto* self, auto* raw, auto* sink, auto* error) {
      return backup.list(self, raw, to_bytes(prefix), to_bytes(after), limit, sink, error);
    });
    EXPECT_TRUE(status.ok());
    std::vector<std::string> names;
    for (const Record& record : collector_->records()) names.push_back(record.key);
    return names;
  }
  Status stat(const std::string& name) {
    return call([&](auto& backup, auto* self, auto* raw, auto* sink, auto* error) {
      return backup.stat(self, raw, to_bytes(name), sink, error);
    });
  }
  std::string read(const std::string& name, std::uint64_t offset, std::uint64_t length) {
    const Status status = call([&](auto& backup, auto* self, auto* raw, auto* sink, auto* error) {
      return backup.read(self, raw, to_bytes(name), offset, length, sink, error);
    });
    if (!status.ok()) return status.error().message;
    std::string bytes;
    for (const Record& record : collector_->records()) bytes += record.value;
    return bytes;
  }

  std::filesystem::path archives_;
  PluginHandle plugin_;
  std::shared_ptr<Instance> instance_;
  std::unique_ptr<Collector> collector_;
};

TEST_P(MinimalC, StoresAndReadsAnArchive) {
  ASSERT_TRUE(put("a.zip", {"by", std::string(100'000, 't'), "es"}).ok());
  EXPECT_EQ(collector_->records().at(0).value, R"({"size":100004})");
  EXPECT_EQ(read("a.zip", 0, 3), "byt");
  EXPECT_EQ(read("a.zip", 100'001, 1000), "tes");
  EXPECT_EQ(read("a.zip", 100'004, 1000), "");
  EXPECT_EQ(read("a.zip", 0, 1 << 20).size(), 100'004u);
  ASSERT_TRUE(stat("a.zip").ok());
  EXPECT_EQ((*Json::parse(collector_->records().at(0).value))["size"].as_int(), 100'004);
  EXPECT_THAT(host_.violations(), IsEmpty());
}

TEST_P(MinimalC, NeverWritesOverAnArchiveAndLeavesNothingBehind) {
  ASSERT_TRUE(put("a.zip", {"first"}).ok());
  const Status again = put("a.zip", {"second"});
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code, Code::exists);
  EXPECT_EQ(read("a.zip", 0, 100), "first");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(archives_), {}), 1);
}

TEST_P(MinimalC, ShowsNothingBeforeTheCommitOrAfterAnAbort) {
  roost_put* begun = nullptr;
  ASSERT_TRUE(call([&](auto& backup, auto* self, auto* raw, auto*, auto* error) {
                return backup.put_begin(self, raw, to_bytes("a.zip"), &begun, error);
              }).ok());
  EXPECT_THAT(list("", "", 10), IsEmpty());
  plugin_->backup.put_abort(instance_->get(), begun);
  EXPECT_TRUE(std::filesystem::is_empty(archives_));
}

TEST_P(MinimalC, ListsInOrderByPrefixAndPages) {
  for (const char* name : {"b2", "a10", "a1", "c", "a2"}) ASSERT_TRUE(put(name, {"x"}).ok());
  EXPECT_THAT(list("", "", 10), ElementsAre("a1", "a10", "a2", "b2", "c"));
  EXPECT_THAT(list("a", "", 2), ElementsAre("a1", "a10"));
  EXPECT_THAT(list("a", "a10", 2), ElementsAre("a2"));
}

TEST_P(MinimalC, RemovesAndSaysWhatIsMissing) {
  ASSERT_TRUE(put("a.zip", {"x"}).ok());
  for (int i = 0; i < 2; ++i) {  // absent is success
    EXPECT_TRUE(call([&](auto& backup, auto* self, auto* raw, auto*, auto* error) {
                  return backup.remove(self, raw, to_bytes("a.zip"), error);
                }).ok());
  }
  EXPECT_EQ(stat("a.zip").error().code, Code::not_found);
}

TEST_P(MinimalC, RefusesNamesThatLeadOut) {
  test::write_all(directory_ / "secret", "x");
  for (const char* name : {"../secret", "", ".", "..", "a/b", ".hidden"}) {
    EXPECT_EQ(stat(name).error().code, Code::invalid) << name;
    EXPECT_EQ(put(name, {"x"}).error().code, Code::invalid) << name;
  }
  std::filesystem::create_symlink(directory_ / "secret", archives_ / "link");
  EXPECT_NE(read("link", 0, 10), "x");
}

TEST_P(MinimalC, RefusesADirectoryThatIsNotThere) {
  const auto refused = Instance::open(plugin_, "test", Json::object({{"directory", "/nonexistent/roost"}}), {}, in_seconds(60));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::not_found);
  EXPECT_FALSE(Instance::open(plugin_, "test", Json::object(), {}, in_seconds(60)).ok());
}

TEST_P(MinimalC, DescribesWhatATaskNeeds) {
  ASSERT_TRUE(call([&](auto& backup, auto* self, auto* raw, auto* sink, auto* error) {
                return backup.describe(self, raw, to_bytes("{}"), sink, error);
              }).ok());
  const auto description = Json::parse(collector_->records().at(0).value);
  ASSERT_TRUE(description.ok()) << description.error().message;
  EXPECT_EQ((*description)["mounts"].items().at(0)["path"].as_string(), archives_.string());
}

INSTANTIATE_TEST_SUITE_P(Header, MinimalC, testing::Values("minimal_now", "minimal_v1_0"));

}  // namespace
}  // namespace roost
