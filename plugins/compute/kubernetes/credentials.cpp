#include "compute/kubernetes/credentials.hpp"

#include <time.h>
#include <yaml-cpp/yaml.h>

#include <Poco/Base64Decoder.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>

#include "roost/plugin.hpp"

namespace roost::kubernetes {
namespace {

constexpr std::chrono::seconds kTokenFileAge{60};
constexpr std::chrono::seconds kExecLimit{30};
constexpr std::size_t kFileMax = 1 << 20;

std::string trim(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  return first == std::string::npos ? std::string() : text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::string decode(const std::string& base64, const std::string& what) {
  try {
    std::istringstream in(base64);
    Poco::Base64Decoder decoder(in);
    return std::string(std::istreambuf_iterator<char>(decoder), {});
  } catch (const std::exception&) {
    invalid(what + " is not base64");
  }
}

std::string text_of(const YAML::Node& node, const char* key) {
  const YAML::Node value = node[key];
  return value && value.IsScalar() ? value.as<std::string>() : std::string();
}

// The entry of a kubeconfig's list by its name.
YAML::Node named(const YAML::Node& config, const char* list, const char* member, const std::string& name) {
  for (const YAML::Node& entry : config[list]) {
    if (text_of(entry, "name") == name) return entry[member];
  }
  invalid(std::string("the kubeconfig has no entry \"") + name + "\" in " + list);
}

// A member that stands in the file itself (NAME-data, base64) or in another file (NAME), relative to the kubeconfig.
std::string embedded(const YAML::Node& node, const std::string& name, const std::string& directory) {
  const std::string data = text_of(node, (name + "-data").c_str());
  if (!data.empty()) return decode(data, "the kubeconfig's " + name + "-data");
  const std::string path = text_of(node, name.c_str());
  if (path.empty()) return {};
  return read_file(path.front() == '/' ? path : directory + path, "the kubeconfig's " + name);
}

// RFC 3339 in UTC, as an ExecCredential says when it ends; -1 where it does not.
std::int64_t parse_time(const std::string& text) {
  std::tm tm{};
  const char* end = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &tm);
  return end == nullptr ? -1 : static_cast<std::int64_t>(::timegm(&tm));
}

ExecSource read_exec(const YAML::Node& node, const std::string& directory) {
  ExecSource source;
  source.api_version = text_of(node, "apiVersion");
  std::string program = text_of(node, "command");
  if (program.empty()) invalid("the kubeconfig's exec has no command");
  if (program.find('/') != std::string::npos && program.front() != '/') program = directory + program;
  source.command.push_back(program);
  for (const YAML::Node& argument : node["args"]) source.command.push_back(argument.as<std::string>());
  for (const YAML::Node& variable : node["env"])
    source.environment.emplace_back(text_of(variable, "name"), text_of(variable, "value"));
  return source;
}

}  // namespace

std::string read_file(const std::string& path, const std::string& what) {
  std::ifstream in(path, std::ios::binary);
  if (!in) invalid(what + ": cannot read " + path);
  std::string text(kFileMax + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() > kFileMax) invalid(what + ": " + path + " is larger than 1 MiB");
  return text;
}

std::unique_ptr<Credentials> Credentials::load(const Settings& settings) {
  return settings.kubeconfig.empty() ? in_cluster(settings) : from_kubeconfig(settings);
}

std::unique_ptr<Credentials> Credentials::in_cluster(const Settings& settings) {
  const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
  const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
  if (host == nullptr || port == nullptr) {
    invalid("compute-kubernetes: not in a cluster (KUBERNETES_SERVICE_HOST is not set), and no kubeconfig is configured");
  }
  std::unique_ptr<Credentials> made(new Credentials);
  const bool v6 = std::string(host).find(':') != std::string::npos;
  made->cluster_.url = "https://" + (v6 ? "[" + std::string(host) + "]" : std::string(host)) + ":" + port;
  made->cluster_.ca_pem = read_file(settings.service_account_dir + "/ca.crt", "the service account's authority");
  made->cluster_.name_space = settings.name_space;
  if (made->cluster_.name_space.empty()) {
    made->cluster_.name_space = trim(read_file(settings.service_account_dir + "/namespace", "the pod's namespace"));
  }
  made->token_file_ = settings.service_account_dir + "/token";
  return made;
}

std::unique_ptr<Credentials> Credentials::from_kubeconfig(const Settings& settings) {
  const std::string& path = settings.kubeconfig;
  const std::string directory = path.find('/') == std::string::npos ? "" : path.substr(0, path.rfind('/') + 1);
  try {
    const YAML::Node config = YAML::Load(read_file(path, "the kubeconfig"));
    const std::string context_name = settings.context.empty() ? text_of(config, "current-context") : settings.context;
    const YAML::Node context = named(config, "contexts", "context", context_name);
    const YAML::Node cluster = named(config, "clusters", "cluster", text_of(context, "cluster"));
    const YAML::Node user = named(config, "users", "user", text_of(context, "user"));
    std::unique_ptr<Credentials> made(new Credentials);
    made->cluster_.url = text_of(cluster, "server");
    while (!made->cluster_.url.empty() && made->cluster_.url.back() == '/') made->cluster_.url.pop_back();
    if (made->cluster_.url.compare(0, 8, "https://") != 0) invalid("the kubeconfig's server must be an https:// address");
    if (text_of(cluster, "insecure-skip-tls-verify") == "true") {
      invalid("the kubeconfig asks for insecure-skip-tls-verify; give certificate-authority instead");
    }
    made->cluster_.ca_pem = embedded(cluster, "certificate-authority", directory);
    made->cluster_.server_name = text_of(cluster, "tls-server-name");
    made->cluster_.name_space = settings.name_space.empty() ? text_of(context, "namespace") : settings.name_space;
    if (made->cluster_.name_space.empty()) made->cluster_.name_space = "default";
    made->token_file_ = text_of(user, "tokenFile");
    if (!made->token_file_.empty() && made->token_file_.front() != '/') made->token_file_ = directory + made->token_file_;
    made->identity_.token = text_of(user, "token");
    made->identity_.certificate_pem = embedded(user, "client-certificate", directory);
    made->identity_.key_pem = embedded(user, "client-key", directory);
    if (user["exec"]) made->exec_ = read_exec(user["exec"], directory);
    return made;
  } catch (const YAML::Exception& e) {
    invalid("the kubeconfig " + path + " cannot be read: " + e.what());
  }
}

// An old token beats none: the file may be in the middle of its rotation.
void Credentials::read_token_file() {
  std::string token;
  try {
    token = trim(read_file(token_file_, "the token"));
  } catch (const sdk::Failure& failure) {
    if (identity_.token.empty()) throw sdk::Failure(ROOST_DENIED, failure.what());
  }
  if (!token.empty()) identity_.token = token;
  fresh_until_ = Clock::now() + kTokenFileAge;
}

void Credentials::run_exec() {
  const Json answer = Json::parse(run_program(exec_, kExecLimit), "answer of the kubeconfig's exec program");
  const Json& status = answer["status"];
  const std::string& token = status["token"].str();
  const std::string& certificate = status["clientCertificateData"].str();
  if (token.empty() && certificate.empty())
    throw sdk::Failure(ROOST_DENIED, exec_.command.front() + " answered neither a token nor a certificate");
  identity_.token = token;
  if (certificate != identity_.certificate_pem) identity_.revision += 1;
  identity_.certificate_pem = certificate;
  identity_.key_pem = status["clientKeyData"].str();
  const std::int64_t ends = parse_time(status["expirationTimestamp"].str());
  const std::int64_t left = ends < 0 ? 365LL * 24 * 3600 : ends - static_cast<std::int64_t>(::time(nullptr)) - 10;
  fresh_until_ = Clock::now() + std::chrono::seconds(std::max<std::int64_t>(left, 1));
}

Identity Credentials::identity() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (Clock::now() >= fresh_until_) {
    if (!token_file_.empty()) {
      read_token_file();
    } else if (!exec_.command.empty()) {
      run_exec();
    }
  }
  return identity_;
}

void Credentials::rejected(std::uint64_t revision) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (revision == identity_.revision) fresh_until_ = {};
}

}  // namespace roost::kubernetes
