#include "backup/s3/settings.hpp"

#include <Poco/JSON/Array.h>
#include <Poco/JSON/Object.h>
#include <Poco/JSON/Parser.h>

#include <algorithm>
#include <sstream>

#include "backup/s3/file.hpp"
#include "backup/s3/hash.hpp"

namespace roost::backup_s3 {

namespace {

using Object = Poco::JSON::Object;

[[noreturn]] void invalid(const std::string& message) { throw sdk::Failure(ROOST_INVALID, "backup-s3: " + message); }

std::string text_of(const Object& object, const std::string& key, const std::string& fallback = {}) {
  return object.optValue<std::string>(key, fallback);
}

Object::Ptr object_of(const Object& object, const std::string& key) {
  const Object::Ptr found = object.getObject(key);
  return found.isNull() ? Object::Ptr(new Object) : found;
}

bool is_loopback(std::string_view authority) {
  const std::string_view host = authority.starts_with("[") ? authority : authority.substr(0, authority.find(':'));
  const std::string_view local = ".localhost";  // resolved to loopback by libcurl itself
  return host.starts_with("127.") || host.starts_with("[::1]") || host == "localhost" ||
         (host.size() > local.size() && host.substr(host.size() - local.size()) == local);
}

Endpoint parse_endpoint(const std::string& url, const std::string& region, bool plain_http) {
  if (url.empty()) return {true, aws_host("s3", region), true};
  Endpoint endpoint;
  endpoint.tls = url.starts_with("https://");
  if (!endpoint.tls && !url.starts_with("http://")) invalid("endpoint must begin with https:// or http://");
  endpoint.authority = url.substr(endpoint.tls ? 8 : 7);
  if (!endpoint.authority.empty() && endpoint.authority.back() == '/') endpoint.authority.pop_back();
  const bool good = !endpoint.authority.empty() &&
                    endpoint.authority.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]") ==
                        std::string::npos;
  if (!good) invalid("endpoint is https://HOST or https://HOST:PORT, without a path: the bucket stands in `bucket`");
  if (!endpoint.tls && !plain_http && !is_loopback(endpoint.authority)) {
    invalid(
        "endpoint is http://, so archives would cross the network for everybody to read. Use https://, or set plain_http: true");
  }
  const std::string port = endpoint.tls ? ":443" : ":80";  // the Host header that is sent has no default port
  const std::size_t at = endpoint.authority.size() - std::min(endpoint.authority.size(), port.size());
  if (endpoint.authority.substr(at) == port) endpoint.authority.resize(at);
  endpoint.aws = endpoint.authority == aws_host("s3", region) || endpoint.authority == "s3.amazonaws.com";
  return endpoint;
}

void check_prefix(const std::string& prefix) {
  if (prefix.empty()) return;
  bool good = prefix.size() <= 512 && prefix.back() == '/';
  std::istringstream segments(prefix);
  for (std::string segment; good && std::getline(segments, segment, '/');) {
    good = !segment.empty() && segment != "." && segment != ".." &&
           segment.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._=-") == std::string::npos;
  }
  if (!good) invalid("prefix is empty, or names out of [A-Za-z0-9._=-], each followed by a slash, at most 512 bytes: \"roost/\"");
}

void check_sts_endpoint(const std::string& url, bool plain_http) {
  if (!url.starts_with("http://") || plain_http || is_loopback(std::string_view(url).substr(7))) return;
  invalid(
      "sts_endpoint is http://, so keys would cross the network for everybody to read. Use https://, or set plain_http: true");
}

CredentialSource source_of(const std::string& name) {
  if (name == "secret") return CredentialSource::secret;
  if (name == "environment") return CredentialSource::environment;
  if (name == "file") return CredentialSource::file;
  if (name == "web_identity") return CredentialSource::web_identity;
  if (name == "container") return CredentialSource::container;
  if (name == "instance") return CredentialSource::instance;
  return CredentialSource::automatic;
}

CredentialSettings parse_credentials(const Object& config, const sdk::OpenArgs& args) {
  CredentialSettings credentials;
  credentials.source = source_of(text_of(config, "credentials", "auto"));
  credentials.access_key_id = args.secret("access_key_id");
  credentials.secret_access_key = args.secret("secret_access_key");
  credentials.session_token = args.secret("session_token");
  credentials.profile = text_of(config, "profile");
  credentials.file = text_of(config, "credentials_file");
  credentials.role_arn = text_of(config, "role_arn");
  credentials.token_file = text_of(config, "web_identity_token_file");
  credentials.sts_endpoint = text_of(config, "sts_endpoint");
  credentials.metadata_endpoint = text_of(config, "metadata_endpoint", "http://169.254.169.254");
  if (credentials.access_key_id.empty() != credentials.secret_access_key.empty()) {
    invalid("of the secrets access_key_id and secret_access_key one is missing: give both, or neither");
  }
  const bool given = !credentials.access_key_id.empty();
  if (credentials.source == CredentialSource::secret && !given) {
    invalid("credentials: secret needs the secrets access_key_id and secret_access_key; set backup.secrets");
  }
  if (given && credentials.source == CredentialSource::automatic) credentials.source = CredentialSource::secret;
  if (given && credentials.source != CredentialSource::secret) invalid("the secrets and another source of credentials are given");
  return credentials;
}

TaskKeySettings parse_task_keys(const Object& config, const sdk::OpenArgs& args, const Settings& s) {
  TaskKeySettings keys;
  keys.role_arn = text_of(config, "task_role");
  keys.session_s = config.optValue<Poco::Int64>("task_session_s", keys.session_s);
  keys.access_key_id = args.secret("task_access_key_id");
  keys.secret_access_key = args.secret("task_secret_access_key");
  if (keys.access_key_id.empty() != keys.secret_access_key.empty()) {
    invalid("of the secrets task_access_key_id and task_secret_access_key one is missing: give both, or neither");
  }
  if (keys.role_arn.empty()) return keys;
  if (!keys.access_key_id.empty()) invalid("task_role and the secrets task_access_key_id, … are given: choose one");
  if (!s.endpoint.aws && s.credentials.sts_endpoint.empty()) {
    invalid("task_role needs sts_endpoint, where the token service answers: for MinIO and Ceph the same address as endpoint");
  }
  if (!s.conditional_writes)  // its keys may not look whether a name is taken
    invalid("task_role needs conditional_writes: without them nothing would keep a task from replacing an archive");
  return keys;
}

void parse_encryption(const Object& config, const sdk::OpenArgs& args, Settings& s) {
  const Object::Ptr sse = object_of(config, "sse");
  s.sse = text_of(*sse, "type");
  s.sse_kms_key_id = text_of(*sse, "kms_key_id");
  s.sse_bucket_key = sse->optValue<bool>("bucket_key", false);
  const bool kms = s.sse.starts_with("aws:kms");
  if (!kms && (!s.sse_kms_key_id.empty() || s.sse_bucket_key)) invalid("sse.kms_key_id and sse.bucket_key go with type aws:kms");
  const std::string_view key = args.secret("sse_customer_key");
  if ((s.sse == "customer") != !key.empty()) invalid("sse.type customer and the secret sse_customer_key go together");
  if (key.empty()) return;
  if (!s.endpoint.tls) invalid("sse.type customer sends the key with every request: it wants https://");
  try {
    s.sse_customer_key = from_base64(key);
  } catch (const std::runtime_error&) {
    invalid("the secret sse_customer_key is not base64");
  }
  if (s.sse_customer_key.size() != 32) invalid("the secret sse_customer_key is not 32 bytes in base64: openssl rand -base64 32");
}

Style parse_style(const std::string& style, const Settings& s) {
  if (style == "path") return Style::path;
  if (style == "virtual") return Style::virtual_host;
  // A wildcard certificate covers one label: a bucket with dots in its name is addressed by path.
  return s.endpoint.aws && s.bucket.find('.') == std::string::npos ? Style::virtual_host : Style::path;
}

}  // namespace

std::string aws_host(std::string_view service, std::string_view region) {
  return std::string(service) + "." + std::string(region) + (region.starts_with("cn-") ? ".amazonaws.com.cn" : ".amazonaws.com");
}

bool good_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name.front() != '.' && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  });
}

void check_name(std::string_view name) {
  if (!good_name(name))
    throw sdk::Failure(ROOST_INVALID, "an archive's name is 1 to 255 of [A-Za-z0-9._-] and does not begin with a dot");
}

Settings Settings::parse(const sdk::OpenArgs& args) {
  const auto config = Poco::JSON::Parser().parse(std::string(args.config)).extract<Object::Ptr>();
  Settings s;
  s.region = text_of(*config, "region", "us-east-1");
  s.bucket = text_of(*config, "bucket");
  s.prefix = text_of(*config, "prefix", "roost/");
  check_prefix(s.prefix);
  const bool plain_http = config->optValue<bool>("plain_http", false);
  s.endpoint = parse_endpoint(text_of(*config, "endpoint"), s.region, plain_http);
  s.style = parse_style(text_of(*config, "style", "auto"), s);
  s.credentials = parse_credentials(*config, args);
  check_sts_endpoint(s.credentials.sts_endpoint, plain_http);
  s.ca_pem = text_of(*config, "ca_pem");
  const std::string ca_file = text_of(*config, "ca_file");
  if (!ca_file.empty()) s.ca_pem += read_file(ca_file, [](const std::string& why) { invalid("ca_file: " + why); });
  s.part_size = config->optValue<Poco::UInt64>("part_size", s.part_size);
  const std::string checksum = text_of(*config, "checksum", "sha256");
  s.checksum = checksum == "md5" ? Checksum::md5 : checksum == "none" ? Checksum::none : Checksum::sha256;
  s.unsigned_payload = config->optValue<bool>("unsigned_payload", false);
  if (s.unsigned_payload && !s.endpoint.tls) invalid("unsigned_payload wants https://, which protects the bodies instead");
  s.conditional_writes = config->optValue<bool>("conditional_writes", true);
  s.task_keys = parse_task_keys(*config, args, s);
  s.remove_versions = text_of(*config, "remove", "version") == "version";
  parse_encryption(*config, args, s);
  const Object::Ptr lock = object_of(*config, "object_lock");
  s.lock_mode = text_of(*lock, "mode");
  s.lock_days = lock->optValue<Poco::Int64>("days", 0);
  if (!s.lock_mode.empty() && s.checksum == Checksum::none)
    invalid("object_lock wants a checksum: S3 takes no locked object without one");
  const Object::Ptr tags = object_of(*config, "tags");
  for (const auto& [name, value] : *tags) s.tags.emplace_back(name, value.convert<std::string>());
  s.storage_class = text_of(*config, "storage_class");
  s.stale_after_s = config->optValue<Poco::Int64>("stale_after_s", s.stale_after_s);
  s.attempts = config->optValue<int>("attempts", s.attempts);
  s.backoff = std::chrono::milliseconds(config->optValue<int>("backoff_ms", static_cast<int>(s.backoff.count())));
  s.connect_timeout = std::chrono::seconds(config->optValue<int>("connect_timeout_s", 10));
  s.stall_timeout = std::chrono::seconds(config->optValue<int>("stall_timeout_s", 60));
  return s;
}

std::string describe_for_task(std::string_view text, const Settings& settings, const TaskCredentials* keys) {
  auto config = Poco::JSON::Parser().parse(std::string(text)).extract<Object::Ptr>();
  for (const char* key : {"profile", "credentials_file", "role_arn", "web_identity_token_file", "sts_endpoint",
                          "metadata_endpoint", "ca_file", "task_role", "task_session_s"}) {
    config->remove(key);
  }
  config->set("credentials", "secret");
  if (settings.task_keys.apart()) config->set("stale_after_s", 0);  // they may not list what others left: the daemon does
  if (!settings.ca_pem.empty()) config->set("ca_pem", settings.ca_pem);
  Poco::JSON::Array secrets;
  Object values;
  if (keys == nullptr) {
    secrets.add("access_key_id");
    secrets.add("secret_access_key");
    if (!settings.credentials.session_token.empty()) secrets.add("session_token");
  } else {
    values.set("access_key_id", keys->access_key_id);
    values.set("secret_access_key", keys->secret_access_key);
    if (!keys->session_token.empty()) values.set("session_token", keys->session_token);
  }
  if (!settings.sse_customer_key.empty()) secrets.add("sse_customer_key");
  Object answer;
  answer.set("config", config);
  answer.set("secrets", secrets);
  answer.set("secret_values", values);
  answer.set("mounts", Poco::JSON::Array());
  std::ostringstream out;
  answer.stringify(out);
  return out.str();
}

}  // namespace roost::backup_s3
