// The gateway's own pages: small, without scripts and without anything from elsewhere. Thread safety: pure functions.
#pragma once

#include <string>
#include <string_view>

#include "http/http.hpp"

namespace roost::gateway {

struct Page {
  int status = 200;
  std::string_view title;
  std::string_view text;  // for people; escaped here
  std::string_view more;  // a second paragraph; empty: none
  int refresh_s = 0;      // 0: it stays as it is
};

// With a Content-Security-Policy that lets in nothing but the page's own style, no framing, no caching, no referrer; with
// Retry-After where it refreshes itself.
[[nodiscard]] http::Response render(const Page& page);
void add_own_headers(http::Response& response);  // the same for an answer that is no page

}  // namespace roost::gateway
