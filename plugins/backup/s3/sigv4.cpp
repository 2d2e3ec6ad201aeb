#include "backup/s3/sigv4.hpp"

#include <algorithm>
#include <cctype>
#include <ctime>

#include "backup/s3/hash.hpp"

namespace roost::backup_s3 {

namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

// Without blanks at the ends, and runs of blanks within as one.
std::string canonical_value(std::string_view value) {
  std::string out;
  bool gap = false;
  for (const char c : value) {
    if (c == ' ' || c == '\t') {
      gap = !out.empty();
      continue;
    }
    if (gap) out += ' ';
    gap = false;
    out += c;
  }
  return out;
}

// Lower-case names in order; the values of one name, in the order in which they are sent, joined by commas.
Pairs canonical_headers(const Pairs& headers) {
  Pairs sorted;
  for (const auto& [name, value] : headers) sorted.emplace_back(lower(name), canonical_value(value));
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  Pairs joined;
  for (auto& [name, value] : sorted) {
    if (!joined.empty() && joined.back().first == name) {
      joined.back().second += "," + value;
    } else {
      joined.emplace_back(name, value);
    }
  }
  return joined;
}

std::string signed_names(const Pairs& canonical) {
  std::string names;
  for (const auto& header : canonical) names += (names.empty() ? "" : ";") + header.first;
  return names;
}

std::string date_of(const SignedRequest& request) {
  for (const auto& [name, value] : request.headers) {
    if (lower(name) == "x-amz-date") return value;
  }
  return {};
}

std::string scope(const std::string& date, const SigningKey& key) {
  return date.substr(0, 8) + "/" + key.region + "/" + key.service + "/aws4_request";
}

}  // namespace

std::string uri_encode(std::string_view text, Slash slash) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                       c == '_' || c == '~' || (c == '/' && slash == Slash::keep);
    if (plain) {
      out += c;
      continue;
    }
    out += '%';
    out += kDigits[static_cast<unsigned char>(c) >> 4];
    out += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

std::string encode_query(const Pairs& query) {
  Pairs encoded;
  for (const auto& [name, value] : query) encoded.emplace_back(uri_encode(name, Slash::encode), uri_encode(value, Slash::encode));
  std::sort(encoded.begin(), encoded.end());
  std::string out;
  for (const auto& [name, value] : encoded) out += (out.empty() ? "" : "&") + name + "=" + value;
  return out;
}

std::string amz_date(std::int64_t unix_s) {
  const std::time_t time = unix_s;
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[32];
  return std::string(text, std::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &parts));
}

std::string canonical_request(const SignedRequest& request) {
  const Pairs headers = canonical_headers(request.headers);
  std::string out = request.method + "\n" + request.path + "\n" + request.query + "\n";
  for (const auto& [name, value] : headers) out += name + ":" + value + "\n";
  return out + "\n" + signed_names(headers) + "\n" + request.payload_hash;
}

std::string string_to_sign(const SignedRequest& request, const SigningKey& key) {
  const std::string date = date_of(request);
  return std::string(kAlgorithm) + "\n" + date + "\n" + scope(date, key) + "\n" + hex(sha256(canonical_request(request)));
}

std::string authorization(const SignedRequest& request, const SigningKey& key) {
  const std::string date = date_of(request);
  std::string derived = hmac_sha256("AWS4" + key.secret_access_key, date.substr(0, 8));
  for (const std::string& step : {key.region, key.service, std::string("aws4_request")}) derived = hmac_sha256(derived, step);
  return std::string(kAlgorithm) + " Credential=" + key.access_key_id + "/" + scope(date, key) +
         ", SignedHeaders=" + signed_names(canonical_headers(request.headers)) +
         ", Signature=" + hex(hmac_sha256(derived, string_to_sign(request, key)));
}

}  // namespace roost::backup_s3
