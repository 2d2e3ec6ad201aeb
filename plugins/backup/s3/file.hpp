// A file that a setting names. Thread safety: pure but for the file.
#pragma once

#include <cstddef>
#include <fstream>
#include <string>

namespace roost::backup_s3 {

// Its bytes, at most 1 MiB. For what cannot be read or is larger, `refuse(why)` is called, which throws: what a setting's error
// says differs from what a credential's does.
template <class Refuse>
[[nodiscard]] std::string read_file(const std::string& path, const Refuse& refuse) {
  constexpr std::size_t kMax = 1u << 20;
  std::ifstream in(path, std::ios::binary);
  if (!in) refuse("cannot read " + path);
  std::string text(kMax + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (in.bad()) refuse("cannot read " + path);
  if (text.size() > kMax) refuse(path + " is larger than 1 MiB");
  return text;
}

}  // namespace roost::backup_s3
