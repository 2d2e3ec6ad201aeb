#include "backup/s3/task_policy.hpp"

#include <Poco/JSON/Array.h>
#include <Poco/JSON/Object.h>
#include <Poco/JSON/Parser.h>

#include <sstream>
#include <vector>

namespace roost::backup_s3 {

namespace {

using Object = Poco::JSON::Object;
using Array = Poco::JSON::Array;

constexpr std::size_t kSessionNameMax = 64;

std::string partition_of(const std::string& region) {
  if (region.compare(0, 3, "cn-") == 0) return "aws-cn";
  return region.compare(0, 7, "us-gov-") == 0 ? "aws-us-gov" : "aws";
}

// AWS itself, by whichever of its names; others have no KMS that a policy could speak of.
bool at_aws(const Endpoint& endpoint) {
  const std::string host = endpoint.authority.substr(0, endpoint.authority.find(':'));
  const auto ends_with = [&](std::string_view end) {
    return host.size() > end.size() && host.compare(host.size() - end.size(), end.size(), end) == 0;
  };
  return endpoint.aws || ends_with(".amazonaws.com") || ends_with(".amazonaws.com.cn");
}

Object allow(const std::vector<std::string>& actions, const std::string& resource) {
  Array list;
  for (const std::string& action : actions) list.add(action);
  Object statement;
  statement.set("Effect", "Allow");
  statement.set("Action", list);
  statement.set("Resource", resource);
  return statement;
}

}  // namespace

TaskWork TaskWork::parse(std::string_view request) {
  TaskWork work;
  try {
    const auto object = Poco::JSON::Parser().parse(std::string(request)).extract<Object::Ptr>();
    work = {object->optValue<std::string>("kind", ""), object->optValue<std::string>("archive", "")};
  } catch (const Poco::Exception&) {  // refused below
  }
  if (work.kind != "backup" && work.kind != "verify" && work.kind != "restore")
    throw sdk::Failure(ROOST_INVALID,
                       "backup-s3: task_role: keys can be narrowed for a task of kind backup, verify or restore only");
  check_name(work.archive);
  return work;
}

std::string task_policy(const Settings& settings, const TaskWork& work) {
  const bool writes = work.kind == "backup";
  std::vector<std::string> actions = {"s3:GetObject"};
  if (writes) actions.insert(actions.end(), {"s3:PutObject", "s3:AbortMultipartUpload"});
  if (writes && !settings.tags.empty()) actions.emplace_back("s3:PutObjectTagging");
  if (writes && !settings.lock_mode.empty()) actions.insert(actions.end(), {"s3:PutObjectRetention", "s3:GetObjectRetention"});
  Array statements;
  statements.add(
      allow(actions, "arn:" + partition_of(settings.region) + ":s3:::" + settings.bucket + "/" + settings.key_of(work.archive)));
  if (at_aws(settings.endpoint)) {  // also where `sse` is not set: the bucket may encrypt by itself
    std::vector<std::string> keys = {"kms:Decrypt"};
    if (writes) keys.emplace_back("kms:GenerateDataKey");
    Object via;
    via.set("kms:ViaService", aws_host("s3", settings.region));
    Object condition;
    condition.set("StringEquals", via);
    Object statement = allow(keys, "*");
    statement.set("Condition", condition);
    statements.add(statement);
  }
  Object policy;
  policy.set("Version", "2012-10-17");
  policy.set("Statement", statements);
  std::ostringstream out;
  policy.stringify(out);
  return out.str();
}

std::string task_session_name(const TaskWork& work) {
  return ("roost-" + work.kind + "-" + work.archive).substr(0, kSessionNameMax);
}

}  // namespace roost::backup_s3
