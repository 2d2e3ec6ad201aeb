// ResponseReader: an upstream's bytes into an answer's head and the pieces of its body, by Boost.Beast's grammar. An upstream is
// not trusted: what is malformed, or too large, is refused. Thread safety: one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "http/http.hpp"

namespace roost::http {

struct AnswerFraming {
  bool chunked = false;
  std::optional<std::uint64_t> length;
  bool until_close = false;
};

class ResponseReader {
 public:
  enum class Event { more, head, body, complete, refused };
  struct Step {
    Event event = Event::more;
    std::size_t consumed = 0;
    std::string_view piece;
  };

  ResponseReader();
  ~ResponseReader();
  ResponseReader(const ResponseReader&) = delete;
  ResponseReader& operator=(const ResponseReader&) = delete;

  // To be said before the first byte: an answer to HEAD has no body whatever its header says.
  void to_head_request();
  // `ended`: the upstream sends no more. 1xx answers other than 101 are skipped.
  [[nodiscard]] Step next(std::string_view input, bool ended);
  [[nodiscard]] int status() const;
  [[nodiscard]] const Headers& headers() const;
  [[nodiscard]] AnswerFraming framing() const;
  [[nodiscard]] const std::string& detail() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace roost::http
