#include "api/request.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace roost::api {
namespace {

constexpr std::size_t kMaxIdempotencyKey = 255;

// "application/json", "application/problem+json", with or without parameters.
bool says_json(std::string_view type) {
  type = type.substr(0, type.find(';'));
  while (!type.empty() && (type.back() == ' ' || type.back() == '\t')) type.remove_suffix(1);
  std::string lower(type);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower == "application/json" || (lower.starts_with("application/") && lower.ends_with("+json"));
}

std::string range_text(std::int64_t low, std::int64_t high) {
  return "a whole number from " + std::to_string(low) + " to " + std::to_string(high);
}

Error invalid(std::string message) { return Error{Code::invalid, std::move(message), 0}; }

Result<std::optional<std::uint64_t>> if_match(std::string_view text) {
  if (text.empty() || text == "*") return std::optional<std::uint64_t>{};
  const std::string_view inside =
      text.size() > 2 && text.front() == '"' && text.back() == '"' ? text.substr(1, text.size() - 2) : text;
  std::uint64_t revision = 0;
  const auto [stop, error] = std::from_chars(inside.data(), inside.data() + inside.size(), revision);
  if (error != std::errc{} || stop != inside.data() + inside.size()) {
    return invalid("the header If-Match must be the ETag of GET /session/{uuid}, for example \"17\" with its quotes");
  }
  return std::optional<std::uint64_t>{revision};
}

}  // namespace

http::Response unprocessable(std::string_view detail) { return http::problem(422, detail); }

Body read_body(const http::Request& request) {
  if (request.body.empty()) return {Json::object(), std::nullopt};
  const std::string_view type = request.header("content-type");
  if (!type.empty() && !says_json(type)) {
    return {Json(), http::problem(415,
                                  "the body must be JSON and say so: send the header Content-Type: application/json "
                                  "(curl -d alone sends a form)")};
  }
  auto parsed = Json::parse(request.body);
  if (!parsed.ok()) return {Json(), http::problem(400, "the body is not valid JSON: " + parsed.error().message)};
  if (!parsed->is_object()) return {Json(), http::problem(400, "the body must be a JSON object, {…}")};
  return {*std::move(parsed), std::nullopt};
}

Result<std::int64_t> query_number(const http::Request& request, std::string_view name, std::int64_t fallback, std::int64_t low,
                                  std::int64_t high) {
  if (!request.has_query_parameter(name)) return fallback;
  const std::string text = request.query_parameter(name);
  std::int64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || stop != text.data() + text.size() || value < low || value > high) {
    return invalid("the query parameter " + std::string(name) + " must be " + range_text(low, high));
  }
  return value;
}

Result<bool> query_flag(const http::Request& request, std::string_view name) {
  if (!request.has_query_parameter(name)) return false;
  const std::string text = request.query_parameter(name);
  if (text.empty() || text == "true" || text == "1") return true;
  if (text == "false" || text == "0") return false;
  return invalid("the query parameter " + std::string(name) + " must be true or false");
}

Result<std::int64_t> body_number(const Json& body, std::string_view name, std::int64_t fallback, std::int64_t low,
                                 std::int64_t high) {
  const Json* member = body.find(name);
  if (!member) return fallback;
  if (!member->is_int() || member->as_int() < low || member->as_int() > high) {
    return invalid("\"" + std::string(name) + "\" must be " + range_text(low, high));
  }
  return member->as_int();
}

Result<CommandOptions> command_options(const http::Request& request, std::string_view actor) {
  CommandOptions options;
  options.actor = actor;
  const std::string_view key = request.header("idempotency-key");
  if (key.size() > kMaxIdempotencyKey) return invalid("the header Idempotency-Key must be at most 255 bytes");
  options.idempotency_key = key;
  ROOST_TRY(options.if_match, if_match(request.header("if-match")));
  ROOST_TRY(options.dry_run, query_flag(request, "dry_run"));
  return options;
}

}  // namespace roost::api
