#include "backup/s3/sts.hpp"

#include "backup/s3/hash.hpp"
#include "backup/s3/xml.hpp"

namespace roost::backup_s3 {

StsForm assume_role_form(const std::string& endpoint, const std::string& region, const Credential& caller,
                         const RoleRequest& wanted, std::int64_t now_s) {
  StsForm form;
  form.url = endpoint + "/";
  form.body = encode_query({{"Action", "AssumeRole"},
                            {"Version", "2011-06-15"},
                            {"RoleArn", wanted.role_arn},
                            {"RoleSessionName", wanted.session_name},
                            {"DurationSeconds", std::to_string(wanted.seconds)},
                            {"Policy", wanted.policy}});
  SignedRequest sign;
  sign.method = "POST";
  sign.path = "/";
  sign.headers = {{"Host", endpoint.substr(endpoint.find("://") + 3)},
                  {"Content-Type", "application/x-www-form-urlencoded"},
                  {"X-Amz-Date", amz_date(now_s)}};
  if (!caller.session_token.empty()) sign.headers.emplace_back("X-Amz-Security-Token", caller.session_token);
  sign.payload_hash = hex(sha256(form.body));
  form.headers = sign.headers;
  form.headers.emplace_back("Authorization",
                            authorization(sign, {caller.access_key_id, caller.secret_access_key, region, "sts"}));
  return form;
}

std::optional<Credential> parse_sts_answer(const std::string& body, const std::string& action) {
  const Xml document = parse_xml(body).value_or(Xml());
  const Xml& found = document[action + "Result"]["Credentials"];
  Credential credential{found["AccessKeyId"].text, found["SecretAccessKey"].text, found["SessionToken"].text,
                        parse_time(found["Expiration"].text)};
  if (document.name != action + "Response" || credential.expires_s < 0) return std::nullopt;
  return credential;
}

std::string parse_sts_refusal(const std::string& body) {
  const Xml document = parse_xml(body).value_or(Xml());
  const std::string text = document["Error"]["Code"].text + ": " + document["Error"]["Message"].text;
  if (document["Error"]["Code"].text.empty()) return {};
  std::string plain;
  for (const char c : text.substr(0, 300)) plain += c >= ' ' && c < 0x7f ? c : '?';
  return plain;
}

}  // namespace roost::backup_s3
