#include <algorithm>
#include <array>

#include "http/http.hpp"

namespace roost::http {
namespace {

constexpr std::size_t kSegmentsMax = 32;  // a longer path matches only {*}

// The segments of "/a/b": {"a", "b"}; of "/": {}. A trailing slash makes a last, empty segment.
std::size_t split(std::string_view path, std::array<std::string_view, kSegmentsMax>& out) {
  std::size_t count = 0;
  while (!path.empty() && count < kSegmentsMax) {
    path.remove_prefix(1);
    const auto slash = path.find('/');
    if (slash == std::string_view::npos) {
      if (!path.empty() || count > 0) out[count++] = path;
      return count;
    }
    out[count++] = path.substr(0, slash);
    path.remove_prefix(slash);
  }
  return count;
}

}  // namespace

void Router::add(Route route) {
  Pattern pattern;
  std::array<std::string_view, kSegmentsMax> segments;
  const std::size_t count = split(route.pattern, segments);
  for (std::size_t i = 0; i < count; ++i) {
    if (segments[i] == "{*}") {
      pattern.rest = true;
    } else {
      pattern.segments.emplace_back(segments[i] == "{}" ? std::string_view{} : segments[i]);
    }
  }
  routes_.push_back(std::move(route));
  patterns_.push_back(std::move(pattern));
}

Router::Match Router::match(std::string_view method, std::string_view path) const {
  std::array<std::string_view, kSegmentsMax> segments;
  const std::size_t count = split(path, segments);
  const auto fits = [&](const Pattern& pattern) {
    if (pattern.rest ? count < pattern.segments.size() : count != pattern.segments.size()) return false;
    for (std::size_t i = 0; i < pattern.segments.size(); ++i) {
      if (pattern.segments[i].empty() ? segments[i].empty() : pattern.segments[i] != segments[i]) return false;
    }
    return true;
  };
  // More literal in an earlier segment wins; {*} is the last resort.
  const auto better = [](const Pattern& a, const Pattern& b) {
    if (a.rest != b.rest) return b.rest;
    for (std::size_t i = 0; i < std::min(a.segments.size(), b.segments.size()); ++i) {
      if (a.segments[i].empty() != b.segments[i].empty()) return b.segments[i].empty();
    }
    return a.segments.size() > b.segments.size();
  };
  // The best pattern is chosen by path alone, so that another method cannot reach a less specific route.
  const Pattern* best = nullptr;
  for (const Pattern& pattern : patterns_) {
    if (fits(pattern) && (best == nullptr || better(pattern, *best))) best = &pattern;
  }
  Match result;
  if (best == nullptr) return result;
  const std::string_view wanted = method == "HEAD" ? std::string_view("GET") : method;
  for (std::size_t i = 0; i < routes_.size(); ++i) {
    if (patterns_[i].rest != best->rest || patterns_[i].segments != best->segments) continue;
    if (routes_[i].method == wanted) {
      result.route = &routes_[i];
      break;
    }
    result.allow += routes_[i].method + (routes_[i].method == "GET" ? ", HEAD, " : ", ");
  }
  if (result.route == nullptr) {
    result.allow += "OPTIONS";
    return result;
  }
  result.allow.clear();
  std::size_t used = 0;
  for (std::size_t i = 0; i < best->segments.size(); ++i) {
    used += 1 + segments[i].size();
    if (best->segments[i].empty()) result.parameters.emplace_back(segments[i]);
  }
  if (best->rest) result.parameters.emplace_back(path.substr(std::min(path.size(), used + 1)));
  return result;
}

}  // namespace roost::http
