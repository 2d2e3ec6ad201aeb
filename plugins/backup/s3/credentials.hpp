// Credentials: who the requests are signed as, out of secrets, environment, the shared credentials file, a web identity token, a
// container's or an instance's metadata service; and keys of a role for others. What expires is renewed five minutes before; an
// answer that failed leaves what is still valid in use. Values are never logged. Thread safety: any thread; one renews, the
// others wait for it.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "backup/s3/http.hpp"
#include "backup/s3/settings.hpp"

namespace roost::backup_s3 {

struct Credential {
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;
  std::int64_t expires_s = 0;  // since 1970; 0: never
};

struct RoleRequest;

class Credentials {
 public:
  // `now`: seconds since 1970, by the clock that expiry is compared with.
  using Clock = std::function<std::int64_t()>;
  Credentials(CredentialSettings settings, std::string region, Http& http, sdk::Log log, Clock now);

  // Throws DENIED where there are none, saying what was looked for; UNAVAILABLE where their source cannot be reached.
  Credential get(const sdk::Call& call);
  // The server takes these no more: the next get() asks the source again. True where that can bring others.
  bool rejected(const Credential& credential);
  // New keys of a role, asked for with these. Throws DENIED with the service's reason; UNAVAILABLE where it cannot be reached.
  Credential assume_role(const sdk::Call& call, const RoleRequest& wanted);

 private:
  using Source = Credential (Credentials::*)(const sdk::Call&);
  [[nodiscard]] CredentialSource resolve() const;
  Credential read(const sdk::Call& call);
  [[nodiscard]] Credential from_environment() const;
  [[nodiscard]] Credential from_file() const;
  Credential from_web_identity(const sdk::Call& call);
  Credential from_container(const sdk::Call& call);
  Credential from_instance(const sdk::Call& call);
  [[nodiscard]] std::string sts_endpoint() const;
  HttpResponse send(const sdk::Call& call, const HttpRequest& request, const std::string& what);
  HttpResponse ask(const sdk::Call& call, const HttpRequest& request, const std::string& what);

  const CredentialSettings settings_;
  const std::string region_;
  Http& http_;
  const sdk::Log log_;
  const Clock now_;
  std::timed_mutex mutex_;
  std::optional<Credential> current_;  // guarded by mutex_
  std::int64_t renew_at_s_ = 0;        // guarded by mutex_
};

// The profile's keys out of a shared credentials file (INI); none where it has no such profile. Pure.
[[nodiscard]] std::optional<Credential> parse_credentials_file(std::string_view text, std::string_view profile);
// What a metadata service answers. Throws DENIED for what is no such document. Pure.
[[nodiscard]] Credential parse_metadata(const std::string& text);
// "2025-11-15T03:51:36Z", with or without a fraction, in seconds since 1970; -1 for anything else. Pure.
[[nodiscard]] std::int64_t parse_time(const std::string& text);

}  // namespace roost::backup_s3
