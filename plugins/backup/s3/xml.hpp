// A strict reader of the small XML documents that S3 and STS answer. It knows elements, text, attributes (which it skips), the
// five named entities and character references; a document type, CDATA, comments and processing instructions are refused, so
// nothing expands. Limits: 4 MiB, 12 deep, 50,000 elements. Thread safety: pure function; values.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace roost::backup_s3 {

struct Xml {
  std::string name;  // without a namespace's prefix
  std::string text;  // directly within it, entities replaced
  std::vector<Xml> children;

  // The first child of that name; an empty element where there is none.
  [[nodiscard]] const Xml& operator[](std::string_view child) const;
  [[nodiscard]] bool has(std::string_view child) const;
};

// The root element; none where the text is not such a document.
[[nodiscard]] std::optional<Xml> parse_xml(std::string_view text);
// The text with & < > escaped.
[[nodiscard]] std::string xml_escape(std::string_view text);

}  // namespace roost::backup_s3
