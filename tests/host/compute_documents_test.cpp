// What compute plugins answer, as the host reads it.
#include "host/compute_documents.hpp"

#include <gtest/gtest.h>

namespace roost {
namespace {

Json workspace(Json volumes) {
  return Json::object({{"id", "1823b3a8"},
                       {"volume", Json::object({{"state", "present"}, {"uid", "u"}})},
                       {"workload", Json::object({{"state", "none"}})},
                       {"volumes", std::move(volumes)}});
}

TEST(ComputeDocuments, VolumesAreAListOrAbsent) {
  const auto listed =
      workspace_from_json(workspace(Json(Json::Array{Json::object({{"name", "v"}, {"token", "t"}, {"uid", "u"}})})));
  ASSERT_TRUE(listed.ok()) << listed.error().message;
  ASSERT_TRUE(listed->volumes);
  EXPECT_EQ(listed->volumes->front(), (SeenVolume{"v", "t", "u"}));
  EXPECT_TRUE(workspace_from_json(workspace(Json::array()))->volumes->empty());
  Json absent = workspace({});
  absent.remove("volumes");
  EXPECT_FALSE(workspace_from_json(absent)->volumes);
  // Not that every volume is gone, of which nothing could be told from a session that lost its own.
  for (const Json& wrong : {Json(), Json(1), Json("v"), Json::object({{"name", "v"}})}) {
    const auto refused = workspace_from_json(workspace(wrong));
    ASSERT_FALSE(refused.ok()) << wrong.dump();
    EXPECT_EQ(refused.error().code, Code::invalid);
    EXPECT_NE(refused.error().message.find("volumes"), std::string::npos);
  }
}

}  // namespace
}  // namespace roost
