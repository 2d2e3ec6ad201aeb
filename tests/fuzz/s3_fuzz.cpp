// What an S3 server, a token service or a metadata service may answer, and files of keys: nothing may crash, and what is read
// holds to the limits. The first byte says which reader gets the rest.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "backup/s3/credentials.hpp"
#include "backup/s3/xml.hpp"

namespace {

using namespace roost::backup_s3;  // NOLINT: a test

void require(bool condition) {
  if (!condition) std::abort();
}

std::size_t bytes_of(const Xml& element, int depth) {
  require(depth <= 12);
  std::size_t sum = element.name.size() + element.text.size();
  for (const Xml& child : element.children) sum += bytes_of(child, depth + 1);
  return sum;
}

void read_xml(std::string_view text) {
  const auto root = parse_xml(text);
  if (root) require(bytes_of(*root, 1) <= text.size());  // nothing expands
  const auto again = parse_xml("<a>" + xml_escape(text) + "</a>");
  require(again && again->text == text && again->children.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > 65536) return 0;
  const std::string_view in(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
    case 1: read_xml(in); break;
    case 2: try { require(parse_metadata(std::string(in)).expires_s >= 0);
      } catch (const roost::sdk::Failure& failure) {
        require(failure.code() == ROOST_DENIED);
      }
      break;
    default: static_cast<void>(parse_credentials_file(in, "default"));
  }
  return 0;
}
