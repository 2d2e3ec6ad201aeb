#include "http/writer.hpp"

#include <charconv>

#include "http/status.hpp"
#include "http/target.hpp"

namespace roost::http {
namespace {

template <class Integer>
void append_number(std::string& out, Integer value, int base = 10) {
  char text[24];
  const auto end = std::to_chars(text, text + sizeof text, value, base);
  out.append(text, static_cast<std::size_t>(end.ptr - text));
}

void write_all(std::string& out, const Headers& headers, bool own_date) {
  for (const auto& [name, value] : headers) {
    if (hop_by_hop(name) || name == "content-length" || (own_date && name == "date")) continue;
    write_header(out, name, value);
  }
}

}  // namespace

void write_header(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ");
  if (value.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos) {
    out.append(value);
  } else {
    for (const char c : value) out.push_back(c == '\r' || c == '\n' || c == '\0' ? ' ' : c);
  }
  out.append("\r\n");
}

void write_answer_head(std::string& out, const AnswerHead& head, const Headers& headers, const Headers& more) {
  out.append("HTTP/1.1 ");
  append_number(out, head.status);
  out.append(" ").append(reason_phrase(head.status)).append("\r\n");
  if (!head.date.empty()) out.append("date: ").append(head.date).append("\r\n");
  write_all(out, headers, !head.date.empty());
  write_all(out, more, true);
  if (head.length) {
    out.append("content-length: ");
    append_number(out, *head.length);
    out.append("\r\n");
  }
  if (head.chunked) out.append("transfer-encoding: chunked\r\n");
  if (!head.upgrade.empty()) {
    out.append("connection: Upgrade\r\n");
    write_header(out, "upgrade", head.upgrade);
  } else if (head.close) {
    out.append("connection: close\r\n");
  } else if (head.keep_alive) {
    out.append("connection: keep-alive\r\n");
  }
  out.append("\r\n");
}

void write_chunk_size(std::string& out, std::size_t size) {
  append_number(out, size, 16);
  out.append("\r\n");
}

bool hop_by_hop(std::string_view name) {
  switch (name.size()) {
    case 2: return name == "te";
    case 7: return name == "trailer" || name == "upgrade";
    case 10: return name == "connection" || name == "keep-alive";
    case 16: return name == "proxy-connection";
    case 17: return name == "transfer-encoding";
    default: return false;
  }
}

bool bodiless(int status) { return status < 200 || status == 204 || status == 304; }

std::string without_cookie(std::string_view header, std::string_view name) {
  std::string kept;
  while (!header.empty()) {
    const auto end = header.find(';');
    const std::string_view pair = trim(header.substr(0, end));
    if (!pair.empty() && trim(pair.substr(0, pair.find('='))) != name) {
      if (!kept.empty()) kept.append("; ");
      kept.append(pair);
    }
    if (end == std::string_view::npos) break;
    header.remove_prefix(end + 1);
  }
  return kept;
}

}  // namespace roost::http
