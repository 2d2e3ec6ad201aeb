#include "http/http.hpp"

#include "http/status.hpp"
#include "http/target.hpp"

namespace roost::http {
namespace {

// Calls f(raw name, raw value) for each pair of a query; stops where f says true.
template <class F>
bool any_parameter(std::string_view query, F&& f) {
  while (!query.empty()) {
    const auto end = query.find('&');
    const std::string_view pair = query.substr(0, end);
    const auto equals = pair.find('=');
    const std::string_view value = equals == std::string_view::npos ? std::string_view{} : pair.substr(equals + 1);
    if (!pair.empty() && f(pair.substr(0, equals), value)) return true;
    if (end == std::string_view::npos) return false;
    query.remove_prefix(end + 1);
  }
  return false;
}

bool names(std::string_view raw, std::string_view name) {
  if (raw == name) return true;
  if (raw.find_first_of("%+") == std::string_view::npos) return false;
  return percent_decode(raw, true) == name;
}

int status_of(Code code) {
  switch (code) {
    case Code::invalid: return 400;
    case Code::not_found: return 404;
    case Code::exists:
    case Code::conflict: return 409;
    case Code::denied: return 403;
    case Code::exhausted: return 429;
    case Code::unavailable:
    case Code::cancelled: return 503;
    case Code::deadline:
    case Code::outcome_unknown: return 504;
    case Code::expired: return 410;
    case Code::unsupported: return 501;
    case Code::data_loss:
    case Code::internal: return 500;
  }
  return 500;
}

}  // namespace

std::string_view Request::header(std::string_view lower_case_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_case_name) return value;
  }
  return {};
}

std::string Request::query_parameter(std::string_view name) const {
  std::string found;
  any_parameter(query, [&](std::string_view raw, std::string_view value) {
    if (!names(raw, name)) return false;
    found = percent_decode(value, true).value_or(std::string(value));
    return true;
  });
  return found;
}

bool Request::has_query_parameter(std::string_view name) const {
  return any_parameter(query, [&](std::string_view raw, std::string_view) { return names(raw, name); });
}

Response Response::json(int status, const Json& body) { return json_text(status, body.dump()); }

Response Response::json_text(int status, std::string body) {
  Response response;
  response.status = status;
  response.headers.emplace_back("content-type", "application/json");
  response.body = std::move(body);
  return response;
}

Response problem(int status, std::string_view detail, Json extra) {
  Json body = Json::object({{"type", "about:blank"}, {"title", reason_phrase(status)}, {"status", status}, {"detail", detail}});
  for (const auto& [key, value] : extra.members()) body.set(key, value);
  Response response = Response::json(status, body);
  response.headers.front().second = "application/problem+json";
  response.headers.emplace_back("cache-control", "no-store");
  return response;
}

Response problem(const Error& error) {
  const int status = status_of(error.code);
  Response response = problem(status, error.message, Json::object({{"code", to_string(error.code)}}));
  const std::int64_t wait_s = (error.retry_after_ms + 999) / 1000;
  if (wait_s > 0 || status == 429 || status == 503)
    response.headers.emplace_back("retry-after", std::to_string(wait_s > 0 ? wait_s : 1));
  return response;
}

}  // namespace roost::http
