// The loader's refusals, each with the real library that provokes it, and the checks of a call's answer.
#include "host/loader.hpp"

#include <gmock/gmock.h>

#include "host/plugin_call.hpp"
#include "plugin_fixture.hpp"

namespace roost {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Loader : public test::PluginFixture {
 protected:
  ~Loader() override { ::unsetenv("ROGUE_TABLE"); }
  Json rogue() { return manifest("rogue", "store-rogue", "store"); }
  Result<PluginHandle> load(const Json& document, PluginKind kind = PluginKind::store) {
    return load_plugin(write_manifest(document), kind, host_.api);
  }
  // The refusal of a plugin; "" where it was loaded.
  std::string refusal(const Json& document, PluginKind kind = PluginKind::store) {
    const auto loaded = load(document, kind);
    return loaded.ok() ? std::string() : loaded.error().message;
  }
  std::string refusal_of_broken(const char* how) {
    ::setenv("ROGUE_TABLE", how, 1);
    return refusal(rogue());
  }
};

TEST_F(Loader, LoadsAPluginAndItsTable) {
  const auto loaded = load(rogue());
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_EQ((*loaded)->manifest.name, "store-rogue");
  EXPECT_NE((*loaded)->store.get, nullptr);
  EXPECT_EQ((*loaded)->compute.apply, nullptr);
  EXPECT_THAT(host_.violations(), IsEmpty());
}

TEST_F(Loader, AnswersALoadedPluginAgain) {
  const Json document = rogue();
  const auto first = load(document);
  const auto second = load(document);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ((*first)->store.get, (*second)->store.get);
}

TEST_F(Loader, RefusesAMissingManifest) {
  const auto loaded = load_plugin(directory_ / "none.roost.json", PluginKind::store, host_.api);
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.error().code, Code::not_found);
  EXPECT_THAT(loaded.error().message, HasSubstr("none.roost.json"));
}

TEST_F(Loader, RefusesAMissingLibrary) {
  EXPECT_THAT(refusal(rogue().set("library", "gone.so")), HasSubstr("gone.so: no such library"));
  EXPECT_THAT(refusal(rogue().set("library", "..")), HasSubstr("no such library"));
}

TEST_F(Loader, RefusesAWrongHashWithoutRunningTheLibrary) {
  ::setenv("ROGUE_TABLE", "throw", 1);  // it would be reported if it ran
  EXPECT_THAT(refusal(rogue().set("sha256", std::string(64, 'a'))), HasSubstr("the manifest says aaaa"));
  EXPECT_THAT(host_.violations(), IsEmpty());
}

TEST_F(Loader, RefusesAnotherAbi) {
  const auto loaded = load(rogue().set("abi", Json::object({{"major", 2}, {"minor", 0}})));
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.error().code, Code::unsupported);
  EXPECT_THAT(loaded.error().message, HasSubstr("built for plugin ABI 2.0, this host speaks 1.0 to 1.0"));
}

TEST_F(Loader, RefusesAnotherKind) {
  EXPECT_THAT(refusal(rogue(), PluginKind::backup), HasSubstr("is of kind store, but a backup plugin is wanted here"));
}

TEST_F(Loader, RefusesALibraryWithoutTheSymbol) {
  EXPECT_THAT(refusal(manifest("no_symbol", "store-none", "store")), HasSubstr("exports no roost_plugin_v1"));
}

TEST_F(Loader, RefusesAnUnresolvedSymbolByName) {
  EXPECT_THAT(refusal(manifest("unresolved", "store-unresolved", "store")), HasSubstr("roost_test_function_that_exists_nowhere"));
}

TEST_F(Loader, RefusesAFileThatIsNoLibrary) {
  const Json document = rogue();
  test::write_all(directory_ / "rogue.so", "not an ELF file");
  EXPECT_THAT(refusal(Json(document).set("sha256", to_hex(sha256("not an ELF file")))), HasSubstr("cannot be loaded"));
}

TEST_F(Loader, RefusesAnswersThatBreakTheRulesAndNamesThePlugin) {
  EXPECT_THAT(refusal_of_broken("plugin-size"), HasSubstr("roost_plugin of 16 bytes"));
  EXPECT_THAT(refusal_of_broken("store-size"), HasSubstr("roost_store of 16 bytes"));
  EXPECT_THAT(refusal_of_broken("no-table"), HasSubstr("no table roost_store"));
  EXPECT_THAT(refusal_of_broken("no-function"), HasSubstr("missing function"));
  EXPECT_THAT(refusal_of_broken("no-close"), HasSubstr("missing function"));
  EXPECT_THAT(refusal_of_broken("name"), HasSubstr("calls itself otherwise"));
  EXPECT_THAT(refusal_of_broken("kind"), HasSubstr("says that it is of kind 3"));
  EXPECT_THAT(refusal_of_broken("minor"), HasSubstr("which was not offered"));
  EXPECT_THAT(refusal_of_broken("throw"), HasSubstr("threw an exception"));
  EXPECT_EQ(host_.violations().size(), 9u);
  EXPECT_THAT(host_.violations(), Contains(HasSubstr("store-rogue: ")));
}

TEST_F(Loader, PassesOnAPluginsOwnRefusal) {
  EXPECT_THAT(refusal_of_broken("refuse"), HasSubstr("refuses this host: this plugin wants ABI 1.9"));
  EXPECT_THAT(host_.violations(), IsEmpty());
}

TEST_F(Loader, AsksForARestartWhereALoadedLibraryChanged) {
  ASSERT_TRUE(load(rogue()).ok());
  Json changed = rogue();
  const std::string text = test::read_all(directory_ / "rogue.so") + "changed";
  std::filesystem::remove(directory_ / "rogue.so");  // the loaded one stays mapped
  test::write_all(directory_ / "rogue.so", text);
  EXPECT_THAT(refusal(changed.set("sha256", to_hex(sha256(text)))), HasSubstr("restart"));
}

class Calls : public Loader {
 protected:
  void SetUp() override {
    auto loaded = load(rogue());
    ASSERT_TRUE(loaded.ok()) << loaded.error().message;
    plugin_ = *loaded;
    auto opened = Instance::open(plugin_, "test", Json::object(), {}, in_seconds(10));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    instance_ = *opened;
    collector_ = std::make_unique<Collector>(*plugin_);
  }
  // How a get of that key ended: "ok" or the error's message.
  std::string get(const std::string& key) {
    PluginCall call(*plugin_, in_seconds(10));
    const Status status = call.run(*collector_, {}, [&] {
      return plugin_->store.get(instance_->get(), call.raw(), to_bytes("p"), to_bytes(key), collector_->sink(), call.error());
    });
    return status.ok() ? "ok" : status.error().message;
  }
  PluginHandle plugin_;
  std::shared_ptr<Instance> instance_;
  std::unique_ptr<Collector> collector_;
};

TEST_F(Calls, GatherWhatIsEmitted) {
  EXPECT_EQ(get("good"), "ok");
  ASSERT_EQ(collector_->records().size(), 1u);
  EXPECT_EQ(collector_->records()[0].value, "value");
  EXPECT_EQ(collector_->records()[0].revision, 7u);
}

TEST_F(Calls, FailWhereThePluginBreaksARuleAndTheHostLives) {
  EXPECT_THAT(get("throw"), HasSubstr("threw an exception"));
  EXPECT_THAT(get("negative"), HasSubstr("the code -5"));
  EXPECT_THAT(get("unknown-code"), HasSubstr("the code 99"));
  EXPECT_THAT(get("unterminated"), HasSubstr("without an end"));
  EXPECT_THAT(get("record-size"), HasSubstr("wrong size"));
  EXPECT_THAT(get("no-address"), HasSubstr("bytes at no address"));
  EXPECT_THAT(get("two-records"), HasSubstr("more than the 1 records"));
  EXPECT_THAT(get("after-stop"), HasSubstr("too large"));
  EXPECT_EQ(host_.violations().size(), 8u);
  EXPECT_EQ(get("good"), "ok");
}

TEST_F(Calls, RefuseASinkOnAnotherThread) {
  get("other-thread");
  EXPECT_THAT(collector_->records(), IsEmpty());
  EXPECT_THAT(host_.violations(), ElementsAre(HasSubstr("another thread")));
}

TEST_F(Calls, RefuseASinkAfterItsCallReturned) {
  EXPECT_EQ(get("save-sink"), "ok");
  auto kept = std::move(collector_);
  collector_ = std::make_unique<Collector>(*plugin_);
  EXPECT_EQ(get("use-saved-sink"), "ok");
  EXPECT_EQ(kept->records().size(), 1u);
  EXPECT_THAT(host_.violations(), ElementsAre(HasSubstr("after its call had returned")));
}

TEST_F(Calls, OpenPassesOnThePluginsErrorAndCatchesAMissingInstance) {
  const auto refused = Instance::open(plugin_, "test", Json::object({{"refuse", true}}), {}, in_seconds(10));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::unavailable);
  EXPECT_THAT(refused.error().message, HasSubstr("check config.address"));
  const auto nothing = Instance::open(plugin_, "test", Json::object({{"nothing", true}}), {}, in_seconds(10));
  ASSERT_FALSE(nothing.ok());
  EXPECT_EQ(nothing.error().code, Code::internal);
}

}  // namespace
}  // namespace roost
