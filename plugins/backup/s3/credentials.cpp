#include "backup/s3/credentials.hpp"

#include <Poco/JSON/Object.h>
#include <Poco/JSON/Parser.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>

#include "backup/s3/file.hpp"
#include "backup/s3/sts.hpp"

namespace roost::backup_s3 {

namespace {

constexpr std::int64_t kRenewBefore_s = 300;
constexpr std::int64_t kRetryAfter_s = 60;
constexpr std::int64_t kFileAge_s = 60;  // a file may be changed at any time
constexpr std::chrono::milliseconds kAskLimit{5000};

[[noreturn]] void denied(const std::string& message) { throw sdk::Failure(ROOST_DENIED, "S3 credentials: " + message); }

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : value;
}

std::string trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return std::string(text);
}

std::string secret_file(const std::string& path, const std::string& what) {
  return read_file(path, [&](const std::string& why) { denied(what + ": " + why); });
}

std::string credentials_path(const CredentialSettings& settings) {
  if (!settings.file.empty()) return settings.file;
  const std::string named = variable("AWS_SHARED_CREDENTIALS_FILE");
  return named.empty() ? variable("HOME") + "/.aws/credentials" : named;
}

bool is_there(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0;
}

// What is signed must be one line each: a newline in a secret would become a header.
void check(const Credential& credential, const std::string& source) {
  for (const std::string* part : {&credential.access_key_id, &credential.secret_access_key, &credential.session_token}) {
    for (const char c : *part) {
      if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) denied(source + " holds a key with blanks or control characters");
    }
  }
  if (credential.access_key_id.empty() || credential.secret_access_key.empty()) denied(source + " holds no access key");
}

}  // namespace

std::int64_t parse_time(const std::string& text) {
  std::tm parts{};
  const char* end = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (end == nullptr) return -1;
  if (*end == '.') {
    for (++end; *end >= '0' && *end <= '9';) ++end;
  }
  return std::string_view(end) == "Z" || *end == '\0' ? static_cast<std::int64_t>(::timegm(&parts)) : -1;
}

std::optional<Credential> parse_credentials_file(std::string_view text, std::string_view profile) {
  std::optional<Credential> found;
  bool within = false;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.front() == '[') {
      const std::string name = line.back() == ']' ? trimmed(std::string_view(line).substr(1, line.size() - 2)) : "";
      within = name == profile || name == "profile " + std::string(profile);
      if (within && !found) found.emplace();
      continue;
    }
    const std::size_t equals = line.find('=');
    if (!within || equals == std::string::npos) continue;
    const std::string key = trimmed(std::string_view(line).substr(0, equals));
    const std::string value = trimmed(std::string_view(line).substr(equals + 1));
    if (key == "aws_access_key_id") found->access_key_id = value;
    if (key == "aws_secret_access_key") found->secret_access_key = value;
    if (key == "aws_session_token") found->session_token = value;
  }
  return found;
}

Credential parse_metadata(const std::string& text) {
  try {
    const auto object = Poco::JSON::Parser().parse(text).extract<Poco::JSON::Object::Ptr>();
    const std::string code = object->optValue<std::string>("Code", "Success");
    if (code != "Success") denied("the metadata service answers that it has none: " + code.substr(0, 60));
    Credential credential;
    credential.access_key_id = object->optValue<std::string>("AccessKeyId", "");
    credential.secret_access_key = object->optValue<std::string>("SecretAccessKey", "");
    credential.session_token = object->optValue<std::string>("Token", "");
    credential.expires_s = parse_time(object->optValue<std::string>("Expiration", ""));
    if (credential.expires_s < 0) denied("the metadata service answers keys without the time when they expire");
    return credential;
  } catch (const Poco::Exception&) {  // its text may hold what was read
    denied("the metadata service answers something else than keys");
  }
}

Credentials::Credentials(CredentialSettings settings, std::string region, Http& http, sdk::Log log, Clock now)
    : settings_(std::move(settings)), region_(std::move(region)), http_(http), log_(log), now_(std::move(now)) {}

Credential Credentials::get(const sdk::Call& call) {
  const std::unique_lock<std::timed_mutex> lock(mutex_, call.remaining());
  if (!lock.owns_lock()) throw sdk::Failure(ROOST_DEADLINE, "the deadline passed while credentials were renewed");
  const std::int64_t now = now_();
  if (current_ && now < renew_at_s_) return *current_;
  try {
    current_ = read(call);
    renew_at_s_ = current_->expires_s != 0 ? current_->expires_s - kRenewBefore_s : now + kFileAge_s;
    renew_at_s_ = std::max(renew_at_s_, now + 1);
  } catch (const sdk::Failure& failure) {
    const bool valid = current_ && (current_->expires_s == 0 || now < current_->expires_s);
    if (!valid) throw;
    log_.warn(std::string("S3 credentials could not be renewed, those at hand are still valid: ") + failure.what());
    renew_at_s_ = now + kRetryAfter_s;
  }
  return *current_;
}

bool Credentials::rejected(const Credential& credential) {
  const std::lock_guard<std::timed_mutex> lock(mutex_);
  if (settings_.source == CredentialSource::secret) return false;
  if (current_ && current_->access_key_id == credential.access_key_id && current_->session_token == credential.session_token) {
    current_.reset();
  }
  return true;
}

CredentialSource Credentials::resolve() const {
  if (settings_.source != CredentialSource::automatic) return settings_.source;
  if (!variable("AWS_ACCESS_KEY_ID").empty()) return CredentialSource::environment;
  if (!variable("AWS_WEB_IDENTITY_TOKEN_FILE").empty() || !settings_.token_file.empty()) return CredentialSource::web_identity;
  if (is_there(credentials_path(settings_))) return CredentialSource::file;
  for (const char* name : {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"}) {
    if (!variable(name).empty()) return CredentialSource::container;
  }
  return CredentialSource::instance;
}

Credential Credentials::read(const sdk::Call& call) {
  Credential found;
  std::string source;
  switch (resolve()) {
    case CredentialSource::automatic:
    case CredentialSource::secret:
      found = {settings_.access_key_id, settings_.secret_access_key, settings_.session_token};
      source = "the configuration";
      break;
    case CredentialSource::environment:
      found = from_environment();
      source = "the environment";
      break;
    case CredentialSource::file:
      found = from_file();
      source = "the credentials file";
      break;
    case CredentialSource::web_identity:
      found = from_web_identity(call);
      source = "the token service's answer";
      break;
    case CredentialSource::container:
      found = from_container(call);
      source = "the container's answer";
      break;
    case CredentialSource::instance:
      found = from_instance(call);
      source = "the instance's answer";
      break;
  }
  check(found, source);
  return found;
}

Credential Credentials::from_environment() const {
  return {variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"), variable("AWS_SESSION_TOKEN")};
}

Credential Credentials::from_file() const {
  std::string profile = settings_.profile.empty() ? variable("AWS_PROFILE") : settings_.profile;
  if (profile.empty()) profile = "default";
  const std::string path = credentials_path(settings_);
  const auto found = parse_credentials_file(secret_file(path, "the file"), profile);
  if (!found) denied("the file " + path + " has no profile [" + profile + "]");
  return *found;
}

// An answer, unless it says "not now".
HttpResponse Credentials::send(const sdk::Call& call, const HttpRequest& request, const std::string& what) {
  HttpRequest limited = request;
  limited.limit = kAskLimit;
  limited.max_body = 64u << 10;
  HttpResponse response = http_.send(call, limited);
  if (response.ending == Ending::out_of_time) {
    call.check();
    throw sdk::Failure(ROOST_DEADLINE, "the deadline passed");
  }
  if (response.ending != Ending::answered || response.status >= 500 || response.status == 429) {
    throw sdk::Failure(ROOST_UNAVAILABLE,
                       "S3 credentials: " + what + " cannot be asked: " +
                           (response.status != 0 ? "HTTP " + std::to_string(response.status) : response.error));
  }
  return response;
}

HttpResponse Credentials::ask(const sdk::Call& call, const HttpRequest& request, const std::string& what) {
  HttpResponse response = send(call, request, what);
  if (response.status != 200) denied(what + " answers HTTP " + std::to_string(response.status));
  return response;
}

std::string Credentials::sts_endpoint() const {
  return settings_.sts_endpoint.empty() ? "https://" + aws_host("sts", region_) : settings_.sts_endpoint;
}

Credential Credentials::assume_role(const sdk::Call& call, const RoleRequest& wanted) {
  const std::string what = "the token service " + sts_endpoint();
  for (bool renewed = false;; renewed = true) {
    const Credential caller = get(call);
    const StsForm form = assume_role_form(sts_endpoint(), region_, caller, wanted, now_());
    HttpRequest request;
    request.method = "POST";
    request.url = form.url;
    request.headers = form.headers;
    request.body = form.body;
    const HttpResponse response = send(call, request, what);
    if (response.status == 200) {
      const auto found = parse_sts_answer(response.body, "AssumeRole");
      if (!found || found->session_token.empty()) denied(what + " answers something else than keys of a role");
      check(*found, what + "'s answer");
      return *found;
    }
    if (!renewed && rejected(caller)) continue;  // they may have expired
    const std::string reason = parse_sts_refusal(response.body);
    denied(what + " gives no keys of the role " + wanted.role_arn + ": HTTP " + std::to_string(response.status) +
           (reason.empty() ? "" : " " + reason));
  }
}

Credential Credentials::from_web_identity(const sdk::Call& call) {
  const std::string file = settings_.token_file.empty() ? variable("AWS_WEB_IDENTITY_TOKEN_FILE") : settings_.token_file;
  const std::string role = settings_.role_arn.empty() ? variable("AWS_ROLE_ARN") : settings_.role_arn;
  if (file.empty() || role.empty()) denied("web_identity needs web_identity_token_file and role_arn, or their variables");
  std::string session = variable("AWS_ROLE_SESSION_NAME");
  if (session.empty()) session = "roost";
  const std::string body = encode_query({{"Action", "AssumeRoleWithWebIdentity"},
                                         {"Version", "2011-06-15"},
                                         {"RoleArn", role},
                                         {"RoleSessionName", session},
                                         {"WebIdentityToken", trimmed(secret_file(file, "the token"))}});
  HttpRequest request;
  request.method = "POST";
  request.url = sts_endpoint() + "/";
  request.headers = {{"Content-Type", "application/x-www-form-urlencoded"}};
  request.body = body;
  const HttpResponse response = ask(call, request, "the token service " + request.url);
  const auto found = parse_sts_answer(response.body, "AssumeRoleWithWebIdentity");
  if (!found) denied("the token service " + request.url + " answers something else than keys");
  return *found;
}

Credential Credentials::from_container(const sdk::Call& call) {
  const std::string relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  HttpRequest request;
  request.method = "GET";
  request.url = relative.empty() ? variable("AWS_CONTAINER_CREDENTIALS_FULL_URI") : "http://169.254.170.2" + relative;
  request.direct = true;
  if (request.url.empty()) denied("container needs the variable AWS_CONTAINER_CREDENTIALS_FULL_URI or _RELATIVE_URI");
  const std::string file = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
  const std::string token =
      trimmed(file.empty() ? variable("AWS_CONTAINER_AUTHORIZATION_TOKEN") : secret_file(file, "the token"));
  if (token.find_first_of("\r\n") != std::string::npos) denied("the container's authorization token has several lines");
  if (!token.empty()) request.headers = {{"Authorization", token}};
  return parse_metadata(ask(call, request, "the container's credentials endpoint").body);
}

// IMDSv2: a token first, so that a proxy that was tricked into a GET gets nothing.
Credential Credentials::from_instance(const sdk::Call& call) {
  const std::string what = "the instance's metadata service (no other credentials were found)";
  HttpRequest request;
  request.method = "PUT";
  request.url = settings_.metadata_endpoint + "/latest/api/token";
  request.headers = {{"X-aws-ec2-metadata-token-ttl-seconds", "300"}};
  request.direct = true;
  const std::string token = trimmed(ask(call, request, what).body);
  if (token.empty() || token.find_first_of("\r\n") != std::string::npos) denied(what + " answers no token");
  request.method = "GET";
  request.headers = {{"X-aws-ec2-metadata-token", token}};
  request.url = settings_.metadata_endpoint + "/latest/meta-data/iam/security-credentials/";
  const std::string role = trimmed(ask(call, request, what).body);
  if (role.empty() || role.find_first_of("/\r\n?# ") != std::string::npos) denied("this instance has no role");
  request.url += role;
  return parse_metadata(ask(call, request, what).body);
}

}  // namespace roost::backup_s3
