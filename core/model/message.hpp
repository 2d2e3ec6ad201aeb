// Message: one chat message of a session's durable queue. Thread safety: plain values.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.hpp"
#include "base/result.hpp"

namespace roost {

enum class MessageState { queued, claimed, answered, dead };

struct Message {
  std::string id;    // 16 lower-case hex digits: its sequence number, so ids sort as they were sent
  std::string text;  // 1 byte to 64 KiB of UTF-8
  std::int64_t created_at_us = 0;
  MessageState state = MessageState::queued;
  std::int64_t attempt = 0;        // how often it was claimed
  std::int64_t visible_at_us = 0;  // a claimed message is offered again from then on
  std::string claim;               // the present claim's token; an ack must carry it where it was given
  std::int64_t answered_at_us = 0;
  Json reply;  // what the ack carried; null: nothing
  bool operator==(const Message&) const = default;
};

[[nodiscard]] std::string_view to_string(MessageState);
[[nodiscard]] Json to_json(const Message&);
[[nodiscard]] Result<Message> message_from_json(const Json&);
[[nodiscard]] Status validate_message_text(std::string_view);

}  // namespace roost
