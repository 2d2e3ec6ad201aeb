// Settings: the plugin's configuration as typed values, checked. What each key means stands in manifest.json.in and
// docs/configuration.md. Secrets are held here and go nowhere but into signatures, headers and a task's own secrets.
// Thread safety: values.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "backup/s3/sigv4.hpp"
#include "roost/plugin.hpp"

namespace roost::backup_s3 {

enum class Style { path, virtual_host };
enum class Checksum { none, md5, sha256 };
enum class CredentialSource { automatic, secret, environment, file, web_identity, container, instance };

struct Endpoint {
  bool tls = true;
  std::string authority;  // host or host:port, as in the Host header
  bool aws = false;       // the region's own endpoint of AWS: it moves with the region
};

struct CredentialSettings {
  CredentialSource source = CredentialSource::automatic;
  std::string access_key_id;  // of the secrets
  std::string secret_access_key;
  std::string session_token;
  std::string profile;  // empty: AWS_PROFILE, or "default"
  std::string file;     // empty: AWS_SHARED_CREDENTIALS_FILE, or ~/.aws/credentials
  std::string role_arn;
  std::string token_file;
  std::string sts_endpoint;       // empty: AWS's, by the region
  std::string metadata_endpoint;  // of the instance
};

// Whose keys a task is given: of a role, for its own archive only; a pair of their own; or, with neither, the daemon's.
struct TaskKeySettings {
  std::string role_arn;
  std::int64_t session_s = 3600;
  std::string access_key_id;
  std::string secret_access_key;
  [[nodiscard]] bool apart() const { return !role_arn.empty() || !access_key_id.empty(); }
};

struct Settings {
  Endpoint endpoint;
  std::string region;
  std::string bucket;
  std::string prefix;  // empty, or ends with a slash
  Style style = Style::path;
  CredentialSettings credentials;
  TaskKeySettings task_keys;
  std::string ca_pem;
  std::uint64_t part_size = 8u << 20;
  Checksum checksum = Checksum::sha256;
  bool unsigned_payload = false;
  bool conditional_writes = true;
  bool remove_versions = true;
  std::string sse;  // empty, AES256, aws:kms, aws:kms:dsse or customer
  std::string sse_kms_key_id;
  bool sse_bucket_key = false;
  std::string sse_customer_key;  // 32 raw bytes
  std::string lock_mode;         // empty: none
  std::int64_t lock_days = 0;
  Pairs tags;
  std::string storage_class;
  std::int64_t stale_after_s = 172'800;  // 0: never
  int attempts = 6;
  std::chrono::milliseconds backoff{200};
  std::chrono::seconds connect_timeout{10};
  std::chrono::seconds stall_timeout{60};

  // Throws INVALID, naming the key that is wrong.
  static Settings parse(const sdk::OpenArgs& args);

  [[nodiscard]] std::string key_of(std::string_view name) const { return prefix + std::string(name); }
};

// What a task is told: the same store, whatever of this machine's own files and identities it takes here, by values only.
// `keys`: those that it is given; nullptr: the daemon's secrets of the configuration, by their names.
struct TaskCredentials {
  std::string access_key_id, secret_access_key, session_token;
};
[[nodiscard]] std::string describe_for_task(std::string_view config, const Settings& settings, const TaskCredentials* keys);

// Throws INVALID for a name that is not 1 to 255 bytes of [A-Za-z0-9._-] or that begins with a dot.
void check_name(std::string_view name);
[[nodiscard]] bool good_name(std::string_view name);

// The host of a region's S3 (service "s3") or token service ("sts") at AWS.
[[nodiscard]] std::string aws_host(std::string_view service, std::string_view region);

}  // namespace roost::backup_s3
