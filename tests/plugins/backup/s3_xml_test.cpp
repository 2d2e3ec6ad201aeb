// The reader of S3's answers: what it reads, and what it refuses.
#include <gtest/gtest.h>

#include "backup/s3/xml.hpp"

namespace roost::backup_s3 {
namespace {

TEST(S3Xml, ReadsAnAnswer) {
  const auto root = parse_xml(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>\n"
      "  "
      "<Name>b</Name><Contents><Key>a&amp;b&#x1;&#233;</Key><Size>1</Size></Contents><Contents><Key>c</Key></Contents><Empty/>\n"
      "</ListBucketResult>\n");
  ASSERT_TRUE(root.has_value());
  EXPECT_EQ(root->name, "ListBucketResult");
  EXPECT_EQ((*root)["Name"].text, "b");
  EXPECT_EQ((*root)["Contents"]["Key"].text, "a&b\x01\xC3\xA9");
  EXPECT_EQ((*root)["Contents"]["Size"].text, "1");
  EXPECT_EQ(root->children.size(), 4u);
  EXPECT_TRUE(root->has("Empty"));
  EXPECT_FALSE(root->has("Absent"));
  EXPECT_EQ((*root)["Absent"]["Deeper"].text, "");
}

TEST(S3Xml, ReadsPrefixedNames) {
  const auto root = parse_xml("<s3:Error xmlns:s3=\"x\"><s3:Code>SlowDown</s3:Code></s3:Error>");
  ASSERT_TRUE(root.has_value());
  EXPECT_EQ(root->name, "Error");
  EXPECT_EQ((*root)["Code"].text, "SlowDown");
}

TEST(S3Xml, RefusesWhatIsNotWellFormed) {
  for (const char* text : {"", "text", "<a>", "<a></b>", "<a></a><b></b>", "<a><b></a></b>", "<a x></a>", "<a x=1></a>",
                           "<a>&nbsp;</a>", "<a>&</a>", "<a>&#0;</a>", "<a>&#xD800;</a>", "<a>&#x110000;</a>", "<a>&#;</a>",
                           "<a/>x", "<a x=\"<\"/>", "<html><body><br></body></html>"}) {
    EXPECT_FALSE(parse_xml(text).has_value()) << text;
  }
}

TEST(S3Xml, ExpandsNothing) {
  EXPECT_FALSE(parse_xml("<!DOCTYPE a [<!ENTITY x \"xxxxxxxx\"><!ENTITY y \"&x;&x;\">]><a>&y;</a>").has_value());
  EXPECT_FALSE(parse_xml("<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>").has_value());
  EXPECT_FALSE(parse_xml("<a><![CDATA[x]]></a>").has_value());
  EXPECT_FALSE(parse_xml("<a><?pi x?></a>").has_value());
  EXPECT_FALSE(parse_xml("<a><!-- x --></a>").has_value());
}

TEST(S3Xml, HoldsToItsLimits) {
  std::string deep;
  for (int i = 0; i < 13; ++i) deep += "<a>";
  EXPECT_FALSE(parse_xml(deep).has_value());
  std::string many = "<a>";
  for (int i = 0; i < 50'000; ++i) many += "<b/>";
  EXPECT_FALSE(parse_xml(many + "</a>").has_value());
  EXPECT_FALSE(parse_xml("<a>" + std::string(4u << 20, 'x') + "</a>").has_value());
}

}  // namespace
}  // namespace roost::backup_s3
