#include "gateway/pages.hpp"

#include "base/crypto.hpp"

namespace roost::gateway {
namespace {

constexpr std::string_view kStyle =
    "body{font:16px/1.5 "
    "system-ui,sans-serif;margin:0;min-height:100vh;display:grid;place-items:center;background:#1e1e1e;color:#ddd}"
    "main{max-width:32rem;padding:2rem}h1{font-size:1.4rem;font-weight:600;margin:0 0 .5rem;color:#fff}p{margin:.5rem 0}"
    ".dots:after{content:'';display:inline-block;width:.6rem;height:.6rem;margin-left:.6rem;border-radius:50%;background:#3794ff;"
    "animation:pulse 1s ease-in-out infinite alternate}@keyframes pulse{from{opacity:.2}to{opacity:1}}"
    "@media (prefers-reduced-motion:reduce){.dots:after{animation:none}}";

const std::string& content_security_policy() {
  static const std::string policy = [] {
    const Sha256 digest = sha256(kStyle);
    return "default-src 'none'; style-src 'sha256-" + base64url({reinterpret_cast<const char*>(digest.data()), digest.size()}) +
           "='; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
  }();
  return policy;
}

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

}  // namespace

void add_own_headers(http::Response& response) {
  for (auto& [name, value] : std::initializer_list<std::pair<std::string_view, std::string_view>>{
           {"content-security-policy", content_security_policy()},
           {"x-frame-options", "DENY"},
           {"x-content-type-options", "nosniff"},
           {"referrer-policy", "no-referrer"}}) {
    response.headers.emplace_back(name, value);
  }
  for (const auto& header : response.headers) {
    if (header.first == "cache-control") return;
  }
  response.headers.emplace_back("cache-control", "no-store");
}

http::Response render(const Page& page) {
  http::Response response;
  response.status = page.status;
  response.headers.emplace_back("content-type", "text/html; charset=utf-8");
  const std::string seconds = std::to_string(page.refresh_s);
  std::string& html = response.body;
  html =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">";
  if (page.refresh_s > 0) html += "<meta http-equiv=\"refresh\" content=\"" + seconds + "\">";
  html.append("<title>")
      .append(escape(page.title))
      .append("</title><style>")
      .append(kStyle)
      .append("</style></head><body><main>");
  html.append(page.refresh_s > 0 ? "<h1 class=\"dots\">" : "<h1>").append(escape(page.title)).append("</h1><p>");
  html.append(escape(page.text)).append("</p>");
  if (!page.more.empty()) html.append("<p>").append(escape(page.more)).append("</p>");
  html.append("</main></body></html>\n");
  if (page.refresh_s > 0) response.headers.emplace_back("retry-after", seconds);
  add_own_headers(response);
  return response;
}

}  // namespace roost::gateway
