#include "telemetry/log.hpp"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <shared_mutex>

namespace roost::telemetry::log {
namespace {

constexpr std::size_t kShortestSecret = 8;
constexpr std::string_view kRedacted = "[redacted]";
constexpr std::size_t kLineMax = 32 << 10;  // a longer line is cut: a log must not become the way to fill a disk

using Redirect = void (*)(std::string_view);
std::atomic<Redirect> redirected{nullptr};

// Hands each formatted line to redirect()'s function, or to stderr.
class Sink final : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    if (const Redirect to = redirected.load()) {
      to(std::string_view(line.data(), line.size()));
    } else {
      std::fwrite(line.data(), 1, line.size(), stderr);
    }
  }
  void flush_() override { std::fflush(stderr); }
};

spdlog::level::level_enum spdlog_level(Level level) {
  switch (level) {
    case Level::debug: return spdlog::level::debug;
    case Level::info: return spdlog::level::info;
    case Level::warn: return spdlog::level::warn;
    case Level::error: return spdlog::level::err;
  }
  return spdlog::level::info;
}

// Immortal: a thread may log while the process exits.
struct State {
  std::shared_ptr<Sink> sink = std::make_shared<Sink>();
  spdlog::logger logger{"roost", sink};
  std::atomic<Format> format{Format::text};
  std::shared_mutex mutex;  // guards secrets
  std::vector<std::string> secrets;

  State() {
    set_format(Format::text);
    logger.flush_on(spdlog::level::debug);
  }
  void set_format(Format wanted) {
    const char* pattern =
        wanted == Format::json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%fZ","level":"%l",%v})" : "%Y-%m-%dT%H:%M:%S.%fZ %-7l %v";
    sink->set_formatter(std::make_unique<spdlog::pattern_formatter>(pattern, spdlog::pattern_time_type::utc));
    format = wanted;
  }
};

State& state() {
  static State* const made = new State;
  return *made;
}

void replace_all(std::string& text, const std::string& what) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + kRedacted.size())) {
    text.replace(at, what.size(), kRedacted);
  }
}

Json redact_all(const Json& value) {
  if (value.is_string()) return Json(redact(value.as_string()));
  if (value.is_array()) {
    Json out = Json::array();
    for (const Json& item : value.items()) out.push(redact_all(item));
    return out;
  }
  if (value.is_object()) {
    Json out = Json::object();
    for (const auto& [key, item] : value.members()) out.set(redact(key), redact_all(item));
    return out;
  }
  return value;
}

bool plain(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](unsigned char c) { return c > 0x20 && c != '"' && c != '=' && c != '\\' && c != 0x7F; });
}

std::string as_text(const std::string& message, const Json& fields) {
  std::string quoted;
  append_json_string(quoted, message);
  std::string line = quoted.substr(1, quoted.size() - 2);  // control characters are escaped: one entry, one line
  for (const auto& [key, value] : fields.members()) {
    line += ' ';
    line += key;
    line += '=';
    line += value.is_string() && plain(value.as_string()) ? value.as_string() : value.dump();
  }
  return line;
}

std::string as_json(const std::string& message, const Json& fields) {
  std::string line = "\"message\":";
  append_json_string(line, message);
  for (const auto& [key, value] : fields.members()) {
    if (key == "time" || key == "level" || key == "message") continue;  // a key must not stand twice
    line += ',';
    append_json_string(line, key);
    line += ':';
    line += value.dump();
  }
  return line;
}

Json with_error(Json fields, const Error& error) {
  fields.set("error", std::string(to_string(error.code)));
  fields.set("detail", error.message);
  return fields;
}

}  // namespace

void configure(Options options) {
  state().logger.set_level(spdlog_level(options.level));
  state().set_format(options.format);
}

bool enabled(Level level) { return state().logger.should_log(spdlog_level(level)); }

void register_secrets(const std::vector<std::string>& secrets) {
  State& s = state();
  const std::unique_lock lock(s.mutex);
  for (const std::string& secret : secrets) {
    if (secret.size() < kShortestSecret) continue;
    std::string escaped;  // as it looks inside JSON that is itself logged as text
    append_json_string(escaped, secret);
    for (const std::string& form : {secret, escaped.substr(1, escaped.size() - 2)}) {
      if (std::find(s.secrets.begin(), s.secrets.end(), form) == s.secrets.end()) s.secrets.push_back(form);
    }
  }
  // The longest first, so that a secret which holds another one leaves no rest.
  std::stable_sort(s.secrets.begin(), s.secrets.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
}

std::string redact(std::string_view text) {
  std::string out(text);
  State& s = state();
  const std::shared_lock lock(s.mutex);
  for (const std::string& secret : s.secrets) {
    if (secret.size() <= out.size()) replace_all(out, secret);
  }
  return out;
}

void write(Level level, std::string_view message, const Json& fields) {
  if (!enabled(level)) return;
  const std::string clean = redact(message);
  const Json clean_fields = redact_all(fields);
  std::string line;
  if (state().format == Format::text) {
    line = as_text(clean, clean_fields);
    if (line.size() > kLineMax) line = line.substr(0, kLineMax) + "... (cut)";
  } else {
    line = as_json(clean, clean_fields);
    if (line.size() > kLineMax) line = as_json(clean.substr(0, 512), Json::object({{"cut", true}}));
  }
  state().logger.log(spdlog_level(level), spdlog::string_view_t(line.data(), line.size()));
}

void error(std::string_view message, const Error& error, Json fields) {
  write(Level::error, message, with_error(std::move(fields), error));
}
void warn(std::string_view message, const Error& error, Json fields) {
  write(Level::warn, message, with_error(std::move(fields), error));
}

void redirect(void (*sink)(std::string_view line)) { redirected = sink; }

}  // namespace roost::telemetry::log
