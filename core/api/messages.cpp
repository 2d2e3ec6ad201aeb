#include <algorithm>

#include "api/bodies.hpp"
#include "api/impl.hpp"

namespace roost::api {
namespace {

constexpr std::size_t kMessageBody = 448 << 10;  // 64 KiB of text, each byte escaped as \u00XX, and the rest of the body
constexpr std::int64_t kMaxWaitS = 50;
constexpr std::int64_t kMaxVisibilityS = 12 * 3600;

bool valid_message_id(std::string_view id) {
  return id.size() == 16 && id.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Json messages_json(const std::vector<Message>& messages, Json (*one)(const Message&)) {
  Json list = Json::array();
  for (const Message& message : messages) list.push(one(message));
  return list;
}

}  // namespace

void Api::Impl::add_messages(http::Router& router) {
  using http::Run;
  add(router, "POST", "/session/{}/chat", Run::pooled, Access::sessions, &Impl::chat, kMessageBody);
  add(router, "GET", "/session/{}/messages", Run::pooled, Access::read, &Impl::history);
  add(router, "POST", "/session/{}/messages/claim", Run::waiting, Access::consumer, &Impl::claim);
  add(router, "POST", "/session/{}/messages/{}/ack", Run::pooled, Access::consumer, &Impl::ack, kMessageBody);
}

void Api::Impl::chat(const Request& request, const Responder& respond, const PrincipalView& who) {
  Body body = read_body(request);
  if (body.refusal) return respond(*std::move(body.refusal));
  const Json* text = body.json.find("message");
  if (!text || !text->is_string())
    return respond(unprocessable("the body needs \"message\", a string, for example {\"message\": \"Hello!\"}"));
  if (const Status valid = validate_message_text(text->as_string()); !valid.ok())
    return respond(unprocessable(valid.error().message));
  auto options = command_options(request, who->name);
  if (!options.ok()) return respond(http::problem(options.error()));
  const SessionView view = visible(request, respond, who);
  if (!view) return;
  const bool dry_run = options->dry_run;
  const std::string id = view->session.id;
  engine_.chat(id, text->as_string(), *std::move(options), [id, respond, dry_run](Result<Engine::Queued> queued) {
    if (!queued.ok()) return respond(failure(queued.error()));
    respond(http::Response::json_text(200, queued_body(id, queued->message, queued->queue_length, dry_run)));
  });
}

void Api::Impl::history(const Request& request, const Responder& respond, const PrincipalView& who) {
  const auto limit = query_number(request, "limit", 100, 1, 1000);
  if (!limit.ok()) return respond(http::problem(limit.error()));
  const std::string after = request.query_parameter("after");
  if (!after.empty() && !valid_message_id(after)) {
    return respond(http::problem(400, "the query parameter after must be the id of a message"));
  }
  const SessionView view = visible(request, respond, who);
  if (!view) return;
  const std::string id = view->session.id;
  engine_.history(id, after, static_cast<int>(*limit), [id, respond](const Result<Engine::History>& found) {
    if (!found.ok()) return respond(failure(found.error()));
    const bool more = found->more && !found->messages.empty();
    respond(http::Response::json(200, Json::object({{"uuid", id},
                                                    {"messages", messages_json(found->messages, history_json)},
                                                    {"next_after", more ? Json(found->messages.back().id) : Json()}})));
  });
}

void Api::Impl::claim(const Request& request, const Responder& respond, const PrincipalView& who) {
  Body body = read_body(request);
  if (body.refusal) return respond(*std::move(body.refusal));
  const auto max = body_number(body.json, "max", 1, 1, 100);
  const auto wait_s = body_number(body.json, "wait_s", 0, 0, kMaxWaitS);
  const auto visibility_s = body_number(body.json, "visibility_s", 300, 1, kMaxVisibilityS);
  for (const auto* number : {&max, &wait_s, &visibility_s}) {
    if (!number->ok()) return respond(unprocessable(number->error().message));
  }
  const SessionView view = visible(request, respond, who);
  if (!view) return;
  auto place = claims_.enter(view->session.id);  // else one workspace could take every connection that there is
  if (!place)
    return respond(failure({Code::exhausted, "too many claims of this session are under way: one with wait_s is enough", 1'000}));
  await_claim(view->session.id, static_cast<int>(*max), {*wait_s * 1000, std::move(place)}, *visibility_s * 1000, respond);
}

// Waits in slices, so that a shutdown need not wait. Nothing is claimed for a client that is known to be away; one that leaves
// while the claim is written down has it until its visibility ends.
void Api::Impl::await_claim(std::string id, int max, Wait wait, std::int64_t visibility_ms, const Responder& respond) {
  const std::int64_t slice_ms = draining_ ? 0 : std::min(wait.left_ms, kSliceMs);
  wait.left_ms -= slice_ms;
  engine_.claim(
      id, max, slice_ms, visibility_ms,
      [this, id, max, wait = std::move(wait), visibility_ms, respond](Result<std::vector<Message>> claimed) {
        if (!claimed.ok()) return respond(failure(claimed.error()));
        if (claimed->empty() && wait.left_ms > 0 && !draining_ && respond.open()) {
          return await_claim(id, max, wait, visibility_ms, respond);
        }
        respond(http::Response::json(200, Json::object({{"messages", messages_json(*claimed, claimed_json)}})));
      },
      [respond] { return respond.open(); });
}

void Api::Impl::ack(const Request& request, const Responder& respond, const PrincipalView& who) {
  Body body = read_body(request);
  if (body.refusal) return respond(*std::move(body.refusal));
  const std::string message_id = request.parameters[1];
  if (!valid_message_id(message_id))
    return respond(http::problem(404, "that is not a message's id: it has 16 digits, 0-9 and a-f"));
  const Json& claim = body.json["claim"];
  if (!claim.is_null() && !claim.is_string())
    return respond(unprocessable("\"claim\" must be the string that the claim answered"));
  const Json& reply = body.json["reply"];
  if (reply.dump().size() > (64 << 10)) return respond(unprocessable("\"reply\" must be at most 65536 bytes of JSON"));
  const SessionView view = visible(request, respond, who);
  if (!view) return;
  const std::string id = view->session.id;
  engine_.ack(id, message_id, claim.as_string(), reply, [id, respond](Result<Message> acked) {
    if (!acked.ok()) return respond(failure(acked.error()));
    Json answer = Json::object({{"uuid", id}});
    const Json message = history_json(*acked);
    for (const auto& [name, value] : message.members()) answer.set(name, value);
    respond(http::Response::json(200, answer));
  });
}

}  // namespace roost::api
