#include "model/message.hpp"

#include <gtest/gtest.h>

namespace roost {
namespace {

TEST(Message, EveryMemberSurvivesTheStore) {
  Message m{"0000000000000001", "Hello!", 1, MessageState::dead, 5, 6, "claim", 7, Json::object({{"text", "x"}})};
  EXPECT_EQ(*message_from_json(to_json(m)), m);
  Json wrong = to_json(m);
  wrong.set("state", "lost");
  EXPECT_EQ(message_from_json(wrong).error().code, Code::data_loss);
}

TEST(Message, TextIsLimited) {
  EXPECT_TRUE(validate_message_text("Hello!\n").ok());
  EXPECT_FALSE(validate_message_text("").ok());
  EXPECT_FALSE(validate_message_text(std::string(65537, 'a')).ok());
  EXPECT_FALSE(validate_message_text("\xff").ok());
  EXPECT_FALSE(validate_message_text(std::string("a\0b", 3)).ok());
}

}  // namespace
}  // namespace roost
