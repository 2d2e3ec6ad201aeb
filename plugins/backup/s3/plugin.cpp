// backup-s3: archives as objects of one bucket. See put.hpp (how one is written), objects.hpp (everything else) and client.hpp.
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "backup/s3/put.hpp"
#include "backup/s3/task_policy.hpp"

namespace roost::backup_s3 {

namespace {

constexpr std::uint64_t kReadMax = 8u << 20;

std::string describe_object(const ObjectState& state) {
  return "{\"size\":" + std::to_string(state.size) + ",\"modified\":" + std::to_string(state.modified_us) + "}";
}

}  // namespace

class Plugin final : public sdk::BackupPlugin {
 public:
  static constexpr std::uint32_t max_concurrency = 16;

  // Nothing is asked here: a daemon starts while its storage is away.
  Plugin(const sdk::Call&, const sdk::OpenArgs& args)
      : config_(args.config), objects_(std::make_shared<Objects>(Settings::parse(args), args.log)) {}

  std::string describe(const sdk::Call& call, std::string_view request) override {
    const Settings& settings = objects_->settings();
    const std::optional<TaskCredentials> keys = task_keys(call, request);
    if (settings.task_keys.apart()) objects_->abort_stale_uploads(call);  // a task's keys do not reach them
    return describe_for_task(config_, settings, keys ? &*keys : nullptr);
  }

  std::unique_ptr<sdk::Put> put_begin(const sdk::Call& call, std::string_view name) override {
    check_name(name);
    call.check();
    return std::make_unique<S3Put>(objects_, std::string(name));
  }

  void list(const sdk::Call& call, std::string_view prefix, std::string_view after, std::uint32_t limit,
            sdk::Sink& sink) override {
    objects_->list(call, prefix, after, limit,
                   [&](std::string_view name, const ObjectState& state) { return sink.emit(name, describe_object(state)); });
  }

  std::string stat(const sdk::Call& call, std::string_view name) override {
    check_name(name);
    return describe_object(objects_->stat(call, std::string(name)));
  }

  void read(const sdk::Call& call, std::string_view name, std::uint64_t offset, std::uint64_t length, sdk::Sink& sink) override {
    check_name(name);
    if (length > kReadMax) throw sdk::Failure(ROOST_INVALID, "a read is at most 8 MiB");
    call.check();
    objects_->read(call, std::string(name), offset, length, [&](std::string_view data) { return sink.emit({}, data); });
  }

  void remove(const sdk::Call& call, std::string_view name) override {
    check_name(name);
    call.check();
    objects_->remove(call, std::string(name));
  }

 private:
  // What a task's requests are signed with; none: with the secrets of the configuration.
  std::optional<TaskCredentials> task_keys(const sdk::Call& call, std::string_view request) {
    const Settings& settings = objects_->settings();
    const TaskKeySettings& keys = settings.task_keys;
    if (!keys.role_arn.empty()) {
      const TaskWork work = TaskWork::parse(request);
      const RoleRequest wanted{keys.role_arn, task_session_name(work), task_policy(settings, work), keys.session_s};
      return of(objects_->client().assume_role(call, wanted));
    }
    if (!keys.access_key_id.empty()) return TaskCredentials{keys.access_key_id, keys.secret_access_key, {}};
    std::call_once(warned_, [&] {
      objects_->log().warn("backup tasks are given the keys that roostd itself uses: with them every archive under " +
                           settings.bucket + "/" + settings.prefix +
                           " can be read, replaced and removed. Set backup.config.task_role, or the secrets task_access_key_id "
                           "and task_secret_access_key (docs/backups-s3.md, \"What a task can reach\")");
    });
    if (settings.credentials.source == CredentialSource::secret) return std::nullopt;
    // A task has neither this process's environment nor its files and roles: it is given what they answer now.
    return of(objects_->client().credential(call));
  }
  static TaskCredentials of(const Credential& credential) {
    return {credential.access_key_id, credential.secret_access_key, credential.session_token};
  }

  const std::string config_;
  const std::shared_ptr<Objects> objects_;
  std::once_flag warned_;
};

}  // namespace roost::backup_s3

ROOST_BACKUP_PLUGIN(roost::backup_s3::Plugin, "backup-s3", ROOST_PLUGIN_VERSION)
