// The signer, on the vectors that AWS publishes: the "aws-sig-v4-test-suite" (service "service", 30 August 2015) and the examples
// of S3's own documentation (examplebucket, 24 May 2013).
#include <gtest/gtest.h>

#include "backup/s3/hash.hpp"
#include "backup/s3/sigv4.hpp"

namespace roost::backup_s3 {
namespace {

const std::string kEmptyHash = hex(sha256(""));

std::string signature_of(const SignedRequest& request, const SigningKey& key) {
  const std::string value = authorization(request, key);
  return value.substr(value.rfind('=') + 1);
}

struct Vector {
  const char* name;
  SignedRequest request;
  const char* signature;
};

SignedRequest suite_request(const std::string& method, const std::string& path, const std::string& query, Pairs more = {},
                            const std::string& body = "") {
  Pairs headers = {{"Host", "example.amazonaws.com"}};
  headers.insert(headers.end(), more.begin(), more.end());
  headers.emplace_back("X-Amz-Date", "20150830T123600Z");
  return {method, path, query, headers, hex(sha256(body))};
}

TEST(SigV4, PassesAwsTestSuite) {
  const SigningKey key{"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1", "service"};
  const std::string unreserved = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  const std::vector<Vector> vectors = {
      {"get-vanilla", suite_request("GET", "/", ""), "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
      {"get-vanilla-empty-query-key", suite_request("GET", "/", encode_query({{"Param1", "value1"}})),
       "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
      {"get-vanilla-query-order-key-case", suite_request("GET", "/", encode_query({{"Param2", "value2"}, {"Param1", "value1"}})),
       "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
      {"get-vanilla-query-unreserved", suite_request("GET", "/", encode_query({{unreserved, unreserved}})),
       "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
      {"get-vanilla-utf8-query", suite_request("GET", "/", encode_query({{"\xE1\x88\xB4", "bar"}})),
       "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
      {"get-utf8", suite_request("GET", uri_encode("/\xE1\x88\xB4", Slash::keep), ""),
       "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
      {"get-unreserved", suite_request("GET", uri_encode("/" + unreserved, Slash::keep), ""),
       "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
      {"get-header-value-trim", suite_request("GET", "/", "", {{"My-Header1", " value1"}, {"My-Header2", " \"a   b   c\""}}),
       "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
      {"post-vanilla", suite_request("POST", "/", ""), "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
      {"post-vanilla-query", suite_request("POST", "/", encode_query({{"Param1", "value1"}})),
       "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
      {"post-header-key-sort", suite_request("POST", "/", "", {{"My-Header1", "value1"}}),
       "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
      {"post-header-value-case", suite_request("POST", "/", "", {{"My-Header1", "VALUE1"}}),
       "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"},
      {"post-x-www-form-urlencoded",
       suite_request("POST", "/", "", {{"Content-Type", "application/x-www-form-urlencoded"}}, "Param1=value1"),
       "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
  };
  for (const Vector& vector : vectors) EXPECT_EQ(signature_of(vector.request, key), vector.signature) << vector.name;
}

TEST(SigV4, PassesTheExamplesOfS3) {
  const SigningKey key{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1"};
  const auto request = [](const std::string& method, const std::string& object, const Pairs& query, Pairs headers,
                          const std::string& body) {
    headers.emplace_back("Host", "examplebucket.s3.amazonaws.com");
    headers.emplace_back("x-amz-content-sha256", hex(sha256(body)));
    headers.emplace_back("x-amz-date", amz_date(1369353600));
    return SignedRequest{method, uri_encode(object, Slash::keep), encode_query(query), headers, hex(sha256(body))};
  };
  const SignedRequest get = request("GET", "/test.txt", {}, {{"Range", "bytes=0-9"}}, "");
  EXPECT_EQ(canonical_request(get),
            "GET\n/test.txt\n\nhost:examplebucket.s3.amazonaws.com\nrange:bytes=0-9\nx-amz-content-sha256:" + kEmptyHash +
                "\nx-amz-date:20130524T000000Z\n\nhost;range;x-amz-content-sha256;x-amz-date\n" + kEmptyHash);
  EXPECT_EQ(string_to_sign(get, key),
            "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n"
            "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972");
  EXPECT_EQ(authorization(get, key),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
            "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
  EXPECT_EQ(signature_of(request("PUT", "/test$file.text", {},
                                 {{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
                                 "Welcome to Amazon S3."),
                         key),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
  EXPECT_EQ(signature_of(request("GET", "/", {{"lifecycle", ""}}, {}, ""), key),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
  EXPECT_EQ(signature_of(request("GET", "/", {{"max-keys", "2"}, {"prefix", "J"}}, {}, ""), key),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST(SigV4, EncodesEachByteOnce) {
  EXPECT_EQ(uri_encode("a b+c/%41~", Slash::keep), "a%20b%2Bc/%2541~");
  EXPECT_EQ(uri_encode("a/b", Slash::encode), "a%2Fb");
  EXPECT_EQ(encode_query({{"b", "1"}, {"a", "x&y=z"}, {"a", ""}}), "a=&a=x%26y%3Dz&b=1");
}

TEST(S3Hash, Base64GoesBothWays) {
  for (const std::string& text :
       {std::string(), std::string("f"), std::string("fo"), std::string("foo"), std::string(32, '\0')}) {
    EXPECT_EQ(from_base64(base64(text)), text);
  }
  EXPECT_EQ(base64("foob"), "Zm9vYg==");
  EXPECT_THROW(static_cast<void>(from_base64("Zm9vYg=")), std::runtime_error);
  EXPECT_THROW(static_cast<void>(from_base64("Zm9!")), std::runtime_error);
}

}  // namespace
}  // namespace roost::backup_s3
