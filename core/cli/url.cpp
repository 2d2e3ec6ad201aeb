#include "cli/url.hpp"

#include <algorithm>
#include <cctype>

#include "cli/text.hpp"

namespace roost::cli {
namespace {

constexpr std::size_t kLongest = 2048;

void encode(std::string& out, std::string_view text, bool slash_stays) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool unreserved = (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
                            c == '-' || c == '.' || c == '_' || c == '~';
    if (unreserved || (slash_stays && c == '/'))
      out += c;
    else
      out.append({'%', kDigits[byte >> 4], kDigits[byte & 15]});
  }
}

bool starts_with_ignoring_case(std::string_view text, std::string_view with) {
  return text.size() >= with.size() && std::equal(with.begin(), with.end(), text.begin(), [](char a, char b) {
           return a == static_cast<char>(std::tolower(static_cast<unsigned char>(b)));
         });
}

}  // namespace

std::string percent_encode(std::string_view text) {
  std::string out;
  encode(out, text, false);
  return out;
}

std::string percent_encode_path(std::string_view path) {
  std::string out;
  encode(out, path, true);
  return out;
}

void add_query(std::string& target, std::string_view name, std::string_view value) {
  if (value.empty()) return;
  target += target.find('?') == std::string::npos ? '?' : '&';
  target.append(name).append("=").append(percent_encode(value));
}

Result<std::string> base_url(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return Error{Code::invalid,
                 "the address \"" + printable(text) + "\" " + std::string(why) + "; write for example https://roost.example.com",
                 0};
  };
  std::string_view rest = text;
  if (starts_with_ignoring_case(text, "http://"))
    rest.remove_prefix(7);
  else if (starts_with_ignoring_case(text, "https://"))
    rest.remove_prefix(8);
  else
    return refuse("must begin with http:// or https://");
  if (text.size() > kLongest) return refuse("is too long");
  const auto bad = [](unsigned char c) {
    return c <= 0x20 || c >= 0x7F || c == '\\' || c == '"' || c == '<' || c == '>' || c == '?' || c == '#';
  };
  if (std::any_of(rest.begin(), rest.end(), bad)) return refuse("has a character that does not belong there");
  const std::string_view host = rest.substr(0, rest.find('/'));
  if (host.find('@') != std::string_view::npos) {  // not repeated: it may hold a password
    return Error{Code::invalid, "an address must not hold a user or a password; the key goes into a file (--key-file)", 0};
  }
  if (host.empty() || host.front() == ':') return refuse("has no host");
  while (text.ends_with('/')) text.remove_suffix(1);
  return std::string(text);
}

bool is_loopback(std::string_view base) {
  std::string_view host = base.substr(std::min(base.size(), base.find("://") + 3));
  host = host.substr(0, host.find('/'));
  if (host.starts_with("[")) return host.starts_with("[::1]");
  host = host.substr(0, host.find(':'));
  if (starts_with_ignoring_case(host, "localhost") && host.size() == 9) return true;
  if (host.size() > 10 && host.ends_with(".localhost")) return true;
  return host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string_view::npos;
}

}  // namespace roost::cli
