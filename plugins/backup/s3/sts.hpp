// What is asked of a token service (STS) and what it answers:
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <string>

#include "backup/s3/credentials.hpp"
#include "backup/s3/sigv4.hpp"

namespace roost::backup_s3 {

// Keys of a role, for `seconds` (900 to 43,200), that may do no more than `policy` allows (at most 2,048 characters).
struct RoleRequest {
  std::string role_arn;
  std::string session_name;  // stands in the service's audit log: 2 to 64 of [A-Za-z0-9+=,.@_-]
  std::string policy;
  std::int64_t seconds = 3600;
};

// A POST, signed.
struct StsForm {
  std::string url;
  Pairs headers;
  std::string body;
};

// `endpoint`: https://HOST[:PORT]; `caller`: who asks.
[[nodiscard]] StsForm assume_role_form(const std::string& endpoint, const std::string& region, const Credential& caller,
                                       const RoleRequest& wanted, std::int64_t now_s);
// The keys in an answer to `action`; none where it is no such answer, or says not when they expire.
[[nodiscard]] std::optional<Credential> parse_sts_answer(const std::string& body, const std::string& action);
// "Code: message" of an answer that refuses, printable; empty where it says nothing.
[[nodiscard]] std::string parse_sts_refusal(const std::string& body);

}  // namespace roost::backup_s3
