#include "model/message.hpp"

#include <array>

#include "base/crypto.hpp"
#include "model/fields.hpp"

namespace roost {
namespace {
constexpr std::array kStates{MessageState::queued, MessageState::claimed, MessageState::answered, MessageState::dead};
constexpr std::size_t kTextLimit = 64 << 10;
}  // namespace

std::string_view to_string(MessageState state) {
  switch (state) {
    case MessageState::queued: return "queued";
    case MessageState::claimed: return "claimed";
    case MessageState::answered: return "answered";
    case MessageState::dead: return "dead";
  }
  return "";
}

Json to_json(const Message& message) {
  return Json::object({{"id", message.id},
                       {"text", message.text},
                       {"created_at_us", message.created_at_us},
                       {"state", to_string(message.state)},
                       {"attempt", message.attempt},
                       {"visible_at_us", message.visible_at_us},
                       {"claim", message.claim},
                       {"answered_at_us", message.answered_at_us},
                       {"reply", message.reply}});
}

Result<Message> message_from_json(const Json& document) {
  Fields fields(document, "message");
  Message message;
  message.id = fields.text("id");  // stored under its sequence number: the key says it, where the document does not
  message.text = fields.required("text");
  message.created_at_us = fields.number("created_at_us");
  message.state = fields.one_of("state", kStates, message.state);
  message.attempt = fields.number("attempt");
  message.visible_at_us = fields.number("visible_at_us");
  message.claim = fields.text("claim");
  message.answered_at_us = fields.number("answered_at_us");
  message.reply = document["reply"];
  ROOST_CHECK(fields.status());
  return message;
}

Status validate_message_text(std::string_view text) {
  if (text.empty()) return Error{Code::invalid, "message must not be empty", 0};
  if (text.size() > kTextLimit) return Error{Code::invalid, "message must be at most 65536 bytes", 0};
  if (!valid_utf8(text)) return Error{Code::invalid, "message must be valid UTF-8", 0};
  if (text.find('\0') != std::string_view::npos) return Error{Code::invalid, "message must not hold NUL", 0};
  return {};
}

}  // namespace roost
