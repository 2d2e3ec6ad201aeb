// The parts of store-redis that need no server: the reader of replies, the names of keys, the meaning of errors.
#include <gtest/gtest.h>

#include "store/redis/failures.hpp"
#include "store/redis/layout.hpp"
#include "store/redis/replicas.hpp"
#include "store/redis/resolve.hpp"
#include "store/redis/resp.hpp"
#include "store/redis/settings.hpp"

namespace roost::store_redis {
namespace {

TEST(Resolve, A_name_has_addresses_or_the_error_names_it) {
  const Until until(-1, std::chrono::seconds(30));
  EXPECT_EQ(resolve("192.0.2.7", until).front().toString(), "192.0.2.7");
  EXPECT_EQ(resolve("2001:db8::7", until).front().toString(), "2001:db8::7");
  EXPECT_TRUE(resolve("localhost", until).front().isLoopback());
  try {
    (void)resolve("no-such-host.invalid", until);
    FAIL() << "it has an address";
  } catch (const ConnectionLost& e) {
    EXPECT_NE(std::string(e.what()).find("no-such-host.invalid"), std::string::npos) << e.what();
  }
}

TEST(Replicas, Those_that_are_connected_are_named_and_a_tool_that_takes_a_copy_is_none) {
  const std::string info =
      "# Replication\r\nrole:master\r\nconnected_slaves:4\r\n"
      "slave0:ip=10.0.0.2,port=6379,state=online,offset=1,lag=0\r\nslave1:ip=fd00::2,port=6380,state=wait_bgsave,offset=0,lag="
      "0\r\n"
      "slave2:ip=10.0.0.9,port=0,state=online,offset=0,lag=7\r\nslave3:ip=redis-1.example.com,port=6379,state=online,offset=1,"
      "lag=0\r\n"
      "master_replid:x\r\n";
  EXPECT_EQ(connected_replicas(info), (Names{"10.0.0.2:6379", "fd00::2:6380", "redis-1.example.com:6379"}));
  EXPECT_EQ(connected_replicas("# Replication\r\nrole:master\r\nconnected_slaves:0\r\n"), Names{});
}

TEST(Replicas, A_failover_promotes_none_that_is_down_or_has_priority_0) {
  const auto told = [](const char* port, const char* flags, const char* priority) {
    return std::vector<std::string>{"name", "x", "ip", "10.0.0.2", "port", port, "flags", flags, "slave-priority", priority};
  };
  const Promotable found = promotable_replicas({told("1", "slave", "100"), told("2", "s_down,slave", "100"),
                                                told("3", "slave", "0"), told("4", "slave,disconnected", "1")});
  EXPECT_EQ(found.up, Names{"10.0.0.2:1"});
  EXPECT_EQ(found.known, (Names{"10.0.0.2:1", "10.0.0.2:2", "10.0.0.2:4"}));
}

TEST(Replicas, So_many_confirm_that_none_can_stand_in_for_another) {
  const Names a{"10.0.0.1:1"}, b{"10.0.0.2:1"}, both{"10.0.0.1:1", "10.0.0.2:1"}, named{"redis-1.example.com:1"};
  EXPECT_EQ(needed({}, {}), 0);
  EXPECT_EQ(needed(both, {}), 2);
  EXPECT_EQ(needed({}, both), 2);
  EXPECT_EQ(needed(both, a), 2) << "the other one may confirm first";
  EXPECT_EQ(needed(a, b), 2) << "the one that is connected is not the one that would be promoted";
  EXPECT_EQ(needed(named, a), 1) << "a name may be that address";
}

const std::string kReply = "*5\r\n:42\r\n$5\r\nab\r\nc\r\n$-1\r\n*2\r\n+fine\r\n*0\r\n-OOM no memory\r\n";

void expect_whole(const Reply& reply) {
  const std::vector<Reply> found = items(reply);
  ASSERT_EQ(found.size(), 5u);
  EXPECT_EQ(integer(found[0]), 42);
  EXPECT_EQ(text(found[1]), "ab\r\nc");
  EXPECT_TRUE(is_null(found[2]));
  EXPECT_EQ(text(items(found[3])[0]), "fine");
  EXPECT_TRUE(is_null(items(found[3])[1]));
  EXPECT_TRUE(found[4]->isError());
}

TEST(ReplyReader, A_reply_is_there_only_with_its_last_byte_however_it_arrives) {
  for (std::size_t piece = 1; piece <= kReply.size(); ++piece) {
    ReplyReader reader;
    for (std::size_t at = 0; at < kReply.size(); at += piece) {
      EXPECT_TRUE(reader.next().isNull());
      reader.feed(std::string_view(kReply).substr(at, piece));
    }
    const Reply reply = reader.next();
    ASSERT_FALSE(reply.isNull()) << piece;
    expect_whole(reply);
    EXPECT_TRUE(reader.idle());
  }
}

TEST(ReplyReader, Of_every_truncation_nothing_is_answered) {
  for (std::size_t size = 0; size < kReply.size(); ++size) {
    ReplyReader reader;
    reader.feed(std::string_view(kReply).substr(0, size));
    EXPECT_TRUE(reader.next().isNull()) << size;
    EXPECT_EQ(reader.idle(), size == 0);
  }
}

TEST(ReplyReader, Replies_that_come_together_are_answered_one_by_one) {
  ReplyReader reader;
  reader.feed(kReply + kReply + ":7\r\n");
  expect_whole(reader.next());
  expect_whole(reader.next());
  EXPECT_EQ(integer(reader.next()), 7);
  EXPECT_TRUE(reader.next().isNull());
}

TEST(ReplyReader, What_is_no_reply_or_too_large_is_refused_before_it_is_kept) {
  ReplyLimits limits;
  limits.bulk = 1000;
  limits.items = 100;
  limits.depth = 3;
  limits.total = 5000;
  limits.line = 200;
  for (const std::string& bytes :
       {std::string("HTTP/1.1 400 Bad Request\r\n"), std::string("\r\n"), std::string(":\r\n"), std::string(":1x\r\n"),
        std::string("$1001\r\n"), std::string("$-2\r\n"), std::string("$3\r\nabcde"), std::string("*101\r\n"),
        std::string("*-2\r\n"), std::string("*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n"), std::string("+\n"), std::string(300, '+'),
        std::string("$99999999999999999999\r\n"), std::string("\x15\x03\x03")}) {
    ReplyReader reader(limits);
    reader.feed(bytes);
    if (bytes[0] == '\x15') reader.feed("\r\n");
    EXPECT_THROW((void)reader.next(), ProtocolError) << bytes;
  }
  ReplyReader reader(limits);
  reader.feed("*10\r\n");
  EXPECT_THROW(
      for (int i = 0; i < 10; ++i) {
        reader.feed("$900\r\n" + std::string(900, 'x') + "\r\n");
        (void)reader.next();
      },
      ProtocolError);
}

TEST(Layout, Session_partitions_are_their_own_buckets_and_others_are_spread) {
  EXPECT_EQ(bucket_of("00"), 0);
  EXPECT_EQ(bucket_of("ab"), 0xab);
  EXPECT_EQ(bucket_of("ff"), 255);
  std::vector<int> hits(kBuckets);
  for (int i = 0; i < 10'000; ++i) ++hits[static_cast<std::size_t>(bucket_of("user/" + std::to_string(i)))];
  for (const int hit : hits) EXPECT_GT(hit, 5);
  const Bucket bucket("roost", 0xab);
  EXPECT_EQ(bucket.documents, "roost:{ab}:doc:");
  EXPECT_EQ(bucket.index, "roost:{ab}:index");
}

TEST(Layout, Partitions_survive_their_encoding_and_two_never_share_a_name) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  for (const std::string& partition : {std::string("user/a@b.example"), std::string("{a}{b}"), std::string("a:b"), all}) {
    const std::string encoded = encode_partition(partition);
    EXPECT_EQ(encoded.find_first_of(":{}"), std::string::npos);
    EXPECT_EQ(decode_partition(encoded), partition);
    EXPECT_EQ(hint_of(member_prefix(partition) + "key:with:colons"), partition + "\nkey:with:colons");
  }
  EXPECT_EQ(encode_partition("user/a@b.example"), "user/a@b.example");
}

TEST(Failures, An_error_means_the_same_whether_a_script_wrapped_it_or_not) {
  for (const char* told :
       {"OOM command not allowed when used memory > 'maxmemory'.",
        "ERR Error running script (call to f_0a): @user_script:7: @user_script: 7: -OOM command not allowed"}) {
    const ServerError error(told);
    EXPECT_EQ(error.word(), "OOM");
    EXPECT_EQ(failure(error, "here").code(), ROOST_EXHAUSTED);
  }
  EXPECT_EQ(failure(ServerError("WRONGPASS invalid"), "here").code(), ROOST_DENIED);
  EXPECT_EQ(
      failure(ServerError("ERR user_script:9: WRONGTYPE at roost:{ab}:index script: 0a, on @user_script:9."), "here").code(),
      ROOST_DATA_LOSS);
  EXPECT_EQ(failure(ServerError("MOVED 1234 10.0.0.1:6379"), "here").code(), ROOST_UNSUPPORTED);
  EXPECT_EQ(failure(ServerError("ERR something new"), "here").code(), ROOST_UNAVAILABLE);
}

TEST(Settings, Addresses_are_hosts_with_ports_or_sockets) {
  EXPECT_EQ(parse_address("redis.example.com:6379").text(), "redis.example.com:6379");
  EXPECT_EQ(parse_address("[::1]:6379").host, "::1");
  EXPECT_EQ(parse_address("/run/redis.sock").text(), "/run/redis.sock");
  for (const char* wrong : {"", ":1", "a", "a:", "a:0", "a:65536", "a:1x", "::1:6379", "redis://a:1"})
    EXPECT_THROW((void)parse_address(wrong), sdk::Failure) << wrong;
}

}  // namespace
}  // namespace roost::store_redis
