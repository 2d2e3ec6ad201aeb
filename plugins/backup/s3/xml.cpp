#include "backup/s3/xml.hpp"

#include <cstdint>

namespace roost::backup_s3 {

namespace {

constexpr std::size_t kSizeMax = 4u << 20;
constexpr int kDepthMax = 12;
constexpr int kElementsMax = 50'000;

bool blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

bool name_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.' ||
         c == ':';
}

void append_utf8(std::string& out, std::uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | (code >> 6));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | (code >> 12));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (code >> 18));
    out += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

class Reader {
 public:
  explicit Reader(std::string_view text) : in_(text) {}

  std::optional<Xml> document() {
    take("\xEF\xBB\xBF");
    if (in_.substr(0, 5) == "<?xml" && in_.size() > 5 && blank(in_[5])) {
      const std::size_t end = in_.find("?>");
      if (end == std::string_view::npos) return std::nullopt;
      in_.remove_prefix(end + 2);
    }
    skip_blanks();
    Xml root;
    if (!element(root, 1)) return std::nullopt;
    skip_blanks();
    if (!in_.empty()) return std::nullopt;
    return root;
  }

 private:
  bool take(std::string_view text) {
    if (in_.substr(0, text.size()) != text) return false;
    in_.remove_prefix(text.size());
    return true;
  }
  void skip_blanks() {
    while (!in_.empty() && blank(in_.front())) in_.remove_prefix(1);
  }

  std::string_view name() {
    std::size_t size = 0;
    while (size < in_.size() && name_byte(in_[size])) ++size;
    const std::string_view out = in_.substr(0, size);
    in_.remove_prefix(size);
    return out;
  }

  // The rest of a start tag. nullopt: not well formed; else whether the element is empty (<a/>).
  std::optional<bool> attributes() {
    for (;;) {
      skip_blanks();
      if (take("/>")) return true;
      if (take(">")) return false;
      if (name().empty()) return std::nullopt;
      skip_blanks();
      if (!take("=")) return std::nullopt;
      skip_blanks();
      if (in_.empty() || (in_.front() != '"' && in_.front() != '\'')) return std::nullopt;
      const std::size_t end = in_.find(in_.front(), 1);
      if (end == std::string_view::npos || in_.substr(0, end).find('<') != std::string_view::npos) return std::nullopt;
      in_.remove_prefix(end + 1);
    }
  }

  bool element(Xml& out, int depth) {
    if (depth > kDepthMax || ++elements_ > kElementsMax || !take("<")) return false;
    const std::string_view qualified = name();
    if (qualified.empty()) return false;
    out.name = std::string(qualified.substr(qualified.rfind(':') + 1));
    const std::optional<bool> empty = attributes();
    if (!empty) return false;
    return *empty || (content(out, depth) && end_tag(qualified));
  }

  bool end_tag(std::string_view qualified) {
    if (!take("</") || name() != qualified) return false;
    skip_blanks();
    return take(">");
  }

  // Up to the end tag.
  bool content(Xml& out, int depth) {
    while (!in_.empty()) {
      if (in_.front() == '<') {
        if (in_.substr(0, 2) == "</") return true;
        out.children.emplace_back();
        if (!element(out.children.back(), depth + 1)) return false;
      } else if (in_.front() == '&') {
        if (!entity(out.text)) return false;
      } else {
        const std::size_t size = std::min(in_.find_first_of("<&"), in_.size());
        out.text += in_.substr(0, size);
        in_.remove_prefix(size);
      }
    }
    return false;
  }

  bool entity(std::string& out) {
    const std::size_t end = in_.substr(0, 12).find(';');
    if (end == std::string_view::npos) return false;
    const std::string_view what = in_.substr(1, end - 1);
    in_.remove_prefix(end + 1);
    if (what == "amp") return out += '&', true;
    if (what == "lt") return out += '<', true;
    if (what == "gt") return out += '>', true;
    if (what == "quot") return out += '"', true;
    if (what == "apos") return out += '\'', true;
    return character(what, out);
  }

  // &#10; or &#xA;. Control characters are let through: S3 names keys of strangers so.
  static bool character(std::string_view what, std::string& out) {
    if (what.size() < 2 || what.front() != '#') return false;
    const bool is_hex = what[1] == 'x';
    what.remove_prefix(is_hex ? 2 : 1);
    if (what.empty() || what.size() > 7) return false;
    std::uint32_t code = 0;
    for (const char c : what) {
      const int digit = c >= '0' && c <= '9'             ? c - '0'
                        : is_hex && c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : is_hex && c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                         : -1;
      if (digit < 0) return false;
      code = code * (is_hex ? 16 : 10) + static_cast<std::uint32_t>(digit);
    }
    if (code == 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return false;
    append_utf8(out, code);
    return true;
  }

  std::string_view in_;
  int elements_ = 0;
};

}  // namespace

const Xml& Xml::operator[](std::string_view child) const {
  static const Xml none;
  for (const Xml& one : children) {
    if (one.name == child) return one;
  }
  return none;
}

bool Xml::has(std::string_view child) const { return &(*this)[child] != &Xml()[child]; }

std::optional<Xml> parse_xml(std::string_view text) {
  if (text.size() > kSizeMax) return std::nullopt;
  return Reader(text).document();
}

std::string xml_escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      default: out += c;
    }
  }
  return out;
}

}  // namespace roost::backup_s3
