// backup-fake: for tests with fake nodes only, and never shipped. The tasks of tests/cluster/stages.yaml leave a receipt without
// having written anything; this says that their archives are there. Thread safety: any thread; it holds nothing.
#include <memory>
#include <string>

#include "roost/plugin.hpp"

namespace {

[[noreturn]] void unsupported() {
  throw roost::sdk::Failure(ROOST_UNSUPPORTED, "backup-fake keeps no bytes: it stands in for a backup store where no task runs");
}

class FakeBackup final : public roost::sdk::BackupPlugin {
 public:
  FakeBackup(const roost::sdk::Call&, const roost::sdk::OpenArgs&) {}

  std::string describe(const roost::sdk::Call&, std::string_view) override {
    return R"({"config":{},"mounts":[{"path":"/backups","writable":true,"claim":"roost-backups"}]})";
  }
  std::string stat(const roost::sdk::Call&, std::string_view) override {
    return R"({"size":7})";  // archive_bytes of the receipts in tests/cluster/stages.yaml
  }
  std::unique_ptr<roost::sdk::Put> put_begin(const roost::sdk::Call&, std::string_view) override { unsupported(); }
  void read(const roost::sdk::Call&, std::string_view, std::uint64_t, std::uint64_t, roost::sdk::Sink&) override {
    unsupported();
  }
  void list(const roost::sdk::Call&, std::string_view, std::string_view, std::uint32_t, roost::sdk::Sink&) override {}
  void remove(const roost::sdk::Call&, std::string_view) override {}
};

}  // namespace

ROOST_BACKUP_PLUGIN(FakeBackup, "backup-fake", ROOST_PLUGIN_VERSION)
