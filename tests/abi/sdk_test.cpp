// The C++ SDK against a hand-made host: errors, exceptions, versions of structures, sinks, waiting, ownership.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <thread>

#include "roost/plugin.hpp"

namespace {

using namespace roost::sdk;
using testing::ElementsAre;

struct Emitted {
  std::vector<std::string> values;
  std::size_t stop_after = 1000;
  static std::int32_t emit(const roost_sink* sink, const roost_record* record) {
    auto* self = static_cast<Emitted*>(sink->context);
    self->values.emplace_back(std::string(view(record->key)) + "=" + std::string(view(record->value)));
    return self->values.size() >= self->stop_after ? 1 : 0;
  }
  roost_sink sink{sizeof(roost_sink), 0, this, &Emitted::emit};
};

std::uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

struct Host {
  Host() {
    host.size = sizeof host;
    host.context = this;
    call.size = sizeof call;
    call.cancel_fd = ::eventfd(0, EFD_CLOEXEC);
    call.deadline_ns = monotonic_ns() + 60'000'000'000u;
    call.host = &host;
    error.size = sizeof error;
  }
  ~Host() { ::close(call.cancel_fd); }
  void cancel() const { ASSERT_EQ(::eventfd_write(call.cancel_fd, 1), 0); }
  roost_host host{};
  roost_call call{};
  roost_error error{};
};

int living = 0;  // instances and puts

class Store : public StorePlugin {
 public:
  static constexpr std::uint32_t max_concurrency = 3;
  Store(const Call&, const OpenArgs& args) {
    if (args.config == "fail") throw Failure(ROOST_DENIED, "wrong password", 250);
    secret_ = args.secret("password");
    ++living;
  }
  ~Store() override { --living; }
  void get(const Call& call, std::string_view partition, std::string_view key, Sink& sink) override {
    if (key == "failure") throw Failure(ROOST_EXHAUSTED, "full", 1500);
    if (key == "ok-failure") throw Failure(ROOST_OK, "a mistake");
    if (key == "exception") throw std::runtime_error("what happened");
    if (key == "unknown") throw 42;
    if (key == "long") throw Failure(ROOST_INVALID, std::string(ROOST_ERROR_MESSAGE_MAX - 2, 'x') + "\xC3\xA9");
    if (key == "exit-thread") pthread_exit(nullptr);
    if (key == "wait") slept_ = call.sleep_for(std::chrono::hours(1));
    if (key == "check") call.check();
    sink.emit(key, partition.empty() ? secret_ : std::string(partition));
  }
  void scan(const Call&, std::string_view, std::string_view, std::string_view, std::uint32_t limit, Sink& sink) override {
    for (std::uint32_t i = 0; i < limit; ++i) sink.emit("k", std::to_string(i));
  }
  void commit(const Call&, std::string_view, const std::vector<Condition>& conditions, const std::vector<Operation>& operations,
              Sink& sink) override {
    for (const auto& c : conditions) sink.emit(c.key, std::to_string(c.kind) + "/" + std::to_string(c.revision));
    for (const auto& o : operations) sink.emit(o.key, std::string(o.value) + "/" + std::to_string(o.ttl_ms));
  }
  std::uint64_t count(const Call&, std::string_view, std::string_view) override { return 17; }
  void lease(const Call&, std::string_view, std::string_view holder, std::int32_t action, std::uint64_t, Sink& sink) override {
    sink.emit(holder, std::to_string(action));
    throw Failure(ROOST_CONFLICT, "held");
  }
  void watch(const Call&, std::string_view resume, Sink& sink) override { sink.resume(std::string(resume) + "+"); }
  bool slept_ = true;

 private:
  std::string secret_;
};

class Object : public Put {
 public:
  Object() { ++living; }
  ~Object() override { --living; }
  void part(const Call&, std::string_view data) override { text_ += data; }
  std::string commit(const Call&) override {
    if (text_ == "taken") throw Failure(ROOST_EXISTS, "there is one");
    return text_;
  }

 private:
  std::string text_;
};

class Backup : public BackupPlugin {
 public:
  Backup(const Call&, const OpenArgs&) {}
  std::string describe(const Call&, std::string_view) override { return "{}"; }
  std::unique_ptr<Put> put_begin(const Call&, std::string_view name) override {
    return name == "nothing" ? nullptr : std::make_unique<Object>();
  }
  void list(const Call&, std::string_view, std::string_view, std::uint32_t, Sink&) override {}
  std::string stat(const Call&, std::string_view) override { return "{}"; }
  void read(const Call&, std::string_view, std::uint64_t, std::uint64_t, Sink&) override {}
  void remove(const Call&, std::string_view) override {}
};

using Table = StoreTable<Store>;

class Sdk : public testing::Test {
 protected:
  void SetUp() override { instance_ = open(""); }
  void TearDown() override {
    Table::close(instance_);
    EXPECT_EQ(living, 0);
  }
  roost_instance* open(std::string_view config) {
    const roost_secret secrets[] = {{sizeof(roost_secret), 0, bytes("user"), bytes("me")},
                                    {sizeof(roost_secret), 0, bytes("password"), bytes("pw")}};
    const roost_open_args args{sizeof args, 0, bytes("test"), bytes(config), {secrets, 2, sizeof(roost_secret)}};
    roost_instance* made = nullptr;
    code_ = Table::open(&host_.call, &args, &made, &host_.error);
    return made;
  }
  std::int32_t get(std::string_view key) {
    return Table::get(instance_, &host_.call, bytes("p"), bytes(key), &emitted_.sink, &host_.error);
  }
  Store& store() { return static_cast<Store&>(*Table::self(instance_)); }

  Host host_;
  Emitted emitted_;
  roost_instance* instance_ = nullptr;
  std::int32_t code_ = 0;
};

TEST_F(Sdk, OpensWithSecretsAndAnswersFailuresOfTheConstructor) {
  EXPECT_EQ(Table::get(instance_, &host_.call, bytes(""), bytes("k"), &emitted_.sink, &host_.error), ROOST_OK);
  EXPECT_THAT(emitted_.values, ElementsAre("k=pw"));
  EXPECT_EQ(open("fail"), nullptr);
  EXPECT_EQ(code_, ROOST_DENIED);
  EXPECT_STREQ(host_.error.message, "wrong password");
  EXPECT_EQ(living, 1);
}

TEST_F(Sdk, TurnsFailuresIntoCodes) {
  EXPECT_EQ(get("failure"), ROOST_EXHAUSTED);
  EXPECT_EQ(host_.error.code, ROOST_EXHAUSTED);
  EXPECT_EQ(host_.error.retry_after_ms, 1500u);
  EXPECT_STREQ(host_.error.message, "full");
  EXPECT_EQ(get("ok-failure"), ROOST_INTERNAL);
}

TEST_F(Sdk, TurnsEveryOtherExceptionIntoInternal) {
  EXPECT_EQ(get("exception"), ROOST_INTERNAL);
  EXPECT_STREQ(host_.error.message, "what happened");
  EXPECT_EQ(get("unknown"), ROOST_INTERNAL);
  EXPECT_STREQ(host_.error.message, "an exception of unknown type");
}

TEST_F(Sdk, CutsALongMessageAtACharactersBoundary) {
  EXPECT_EQ(get("long"), ROOST_INVALID);
  EXPECT_EQ(std::string(host_.error.message), std::string(ROOST_ERROR_MESSAGE_MAX - 2, 'x'));
}

TEST_F(Sdk, LetsTheEndOfAThreadPass) {
  bool returned = false;
  std::thread thread([&] {
    get("exit-thread");
    returned = true;
  });
  thread.join();
  EXPECT_FALSE(returned);
}

TEST_F(Sdk, EmitsNothingAfterStop) {
  emitted_.stop_after = 2;
  EXPECT_EQ(Table::scan(instance_, &host_.call, bytes("p"), bytes(""), bytes(""), 10, &emitted_.sink, &host_.error), ROOST_OK);
  EXPECT_THAT(emitted_.values, ElementsAre("k=0", "k=1"));
}

TEST_F(Sdk, EmitsBeforeItFails) {
  EXPECT_EQ(Table::lease(instance_, &host_.call, bytes("n"), bytes("h"), 2, 5, &emitted_.sink, &host_.error), ROOST_CONFLICT);
  EXPECT_THAT(emitted_.values, ElementsAre("h=2"));
}

// A host of a later minor version has larger structures, and says so by the stride.
TEST_F(Sdk, ReadsArraysByTheirStride) {
  struct Later {
    roost_condition condition;
    char appended[24];
  };
  Later conditions[2]{};
  conditions[0].condition = {sizeof(Later), ROOST_IF_ABSENT, bytes("a"), 0};
  conditions[1].condition = {sizeof(Later), ROOST_IF_REVISION, bytes("b"), 9};
  const roost_operation operation{sizeof operation, ROOST_PUT, bytes("c"), bytes("v"), 4};
  EXPECT_EQ(Table::commit(instance_, &host_.call, bytes("p"), {conditions, 2, sizeof(Later)}, {&operation, 1, sizeof operation},
                          &emitted_.sink, &host_.error),
            ROOST_OK);
  EXPECT_THAT(emitted_.values, ElementsAre("a=1/0", "b=3/9", "c=v/4"));
}

// A host of an earlier minor version has smaller ones: nothing beyond `size` may be touched (the sanitizer watches).
TEST_F(Sdk, ReadsNothingBeyondAStructuresSize) {
  constexpr std::uint32_t kShort = offsetof(roost_operation, ttl_ms);
  const std::unique_ptr<char[]> memory(new char[kShort]);
  roost_operation operation{kShort, ROOST_PUT, bytes("c"), bytes("v"), 0};
  std::memcpy(memory.get(), &operation, kShort);
  EXPECT_EQ(
      Table::commit(instance_, &host_.call, bytes("p"), {nullptr, 0, 0}, {memory.get(), 1, kShort}, &emitted_.sink, &host_.error),
      ROOST_OK);
  EXPECT_THAT(emitted_.values, ElementsAre("c=v/0"));
  EXPECT_EQ(Table::commit(instance_, &host_.call, bytes("p"), {nullptr, 0, 0}, {nullptr, 3, 40}, &emitted_.sink, &host_.error),
            ROOST_INVALID);
}

TEST_F(Sdk, SleepsUntilItIsCancelled) {
  std::thread cancel([&] { host_.cancel(); });
  EXPECT_EQ(get("wait"), ROOST_OK);
  cancel.join();
  EXPECT_FALSE(store().slept_);
  EXPECT_EQ(get("check"), ROOST_CANCELLED);
}

TEST_F(Sdk, SleepsUntilTheDeadline) {
  host_.call.deadline_ns = monotonic_ns() + 2'000'000;
  EXPECT_EQ(get("wait"), ROOST_OK);
  EXPECT_FALSE(store().slept_);
  EXPECT_EQ(get("check"), ROOST_DEADLINE);
}

TEST(SdkCall, WaitsForADescriptorOrForTheEnd) {
  Host host;
  const int ready = ::eventfd(1, EFD_CLOEXEC);
  const Call call(&host.call);
  EXPECT_EQ(call.wait(ready, POLLIN), POLLIN);
  EXPECT_TRUE(call.sleep_for(std::chrono::milliseconds(1)));
  EXPECT_GT(call.remaining().count(), 0);
  std::uint64_t value = 0;
  ASSERT_EQ(::eventfd_read(ready, &value), 0);
  host.cancel();
  EXPECT_EQ(call.wait(ready, POLLIN), 0);
  EXPECT_TRUE(call.cancelled());
  ::close(ready);
}

TEST(SdkCall, BelievesTheHostsFlagWhereThereIsOne) {
  Host host;
  host.host.cancelled = [](const roost_host*, const roost_call*) -> std::int32_t { return 1; };
  EXPECT_TRUE(Call(&host.call).cancelled());
  EXPECT_FALSE(Call(&host.call).sleep_for(std::chrono::hours(1)));
}

TEST(SdkBackup, EndsAPutWithItsCommitOrItsAbort) {
  using Puts = BackupTable<Backup>;
  Host host;
  Emitted emitted;
  const roost_open_args args{sizeof args, 0, bytes("test"), bytes("{}"), {nullptr, 0, 0}};
  roost_instance* instance = nullptr;
  ASSERT_EQ(Puts::open(&host.call, &args, &instance, &host.error), ROOST_OK);
  roost_put* put = nullptr;
  ASSERT_EQ(Puts::put_begin(instance, &host.call, bytes("a"), &put, &host.error), ROOST_OK);
  EXPECT_EQ(Puts::put_part(instance, &host.call, put, bytes("by"), &host.error), ROOST_OK);
  EXPECT_EQ(Puts::put_part(instance, &host.call, put, bytes("tes"), &host.error), ROOST_OK);
  EXPECT_EQ(Puts::put_commit(instance, &host.call, put, &emitted.sink, &host.error), ROOST_OK);
  EXPECT_THAT(emitted.values, ElementsAre("a=bytes"));
  EXPECT_EQ(living, 0);
  ASSERT_EQ(Puts::put_begin(instance, &host.call, bytes("b"), &put, &host.error), ROOST_OK);
  EXPECT_EQ(Puts::put_part(instance, &host.call, put, bytes("taken"), &host.error), ROOST_OK);
  EXPECT_EQ(Puts::put_commit(instance, &host.call, put, &emitted.sink, &host.error), ROOST_EXISTS);
  EXPECT_EQ(living, 0);
  ASSERT_EQ(Puts::put_begin(instance, &host.call, bytes("c"), &put, &host.error), ROOST_OK);
  Puts::put_abort(instance, put);
  EXPECT_EQ(living, 0);
  EXPECT_EQ(Puts::put_begin(instance, &host.call, bytes("nothing"), &put, &host.error), ROOST_INTERNAL);
  Puts::close(instance);
}

TEST(SdkNegotiation, TakesTheHighestCommonMinorOrRefuses) {
  roost_plugin plugin = describe_plugin<Table>(ROOST_KIND_STORE, "store-x", "1.0.0");
  EXPECT_EQ(Table::table()->max_concurrency, 3u);
  roost_error error{};
  error.size = sizeof error;
  const roost_negotiation newer{sizeof newer, 0, ROOST_ABI_MINOR + 5, 0, nullptr};
  ASSERT_EQ(negotiate(plugin, &newer, &error), &plugin);
  EXPECT_EQ(plugin.abi_minor, ROOST_ABI_MINOR);
  const roost_negotiation much_newer{sizeof much_newer, ROOST_ABI_MINOR + 1, ROOST_ABI_MINOR + 5, 0, nullptr};
  EXPECT_EQ(negotiate(plugin, &much_newer, &error), nullptr);
  EXPECT_EQ(error.code, ROOST_UNSUPPORTED);
  EXPECT_EQ(negotiate(plugin, nullptr, &error), nullptr);
}

}  // namespace
