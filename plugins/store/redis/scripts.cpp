#include "store/redis/scripts.hpp"

#include <openssl/evp.h>

#include <array>

namespace roost::store_redis {
namespace {

// Lua's numbers are exact up to 2^53: microseconds since 1970 reach that in the year 2255.
const std::string kClock = R"lua(
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = math.floor(now_us / 1000)
local function decimal(number) return string.format('%.0f', number) end
local function read(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then error(string.match(answer.err, '^%S+') .. ' at ' .. select(2, ...)) end
  return answer
end
)lua";

const std::string kBucket = kClock + R"lua(
local index, revisions, due, sequences, changes, counters = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local function is_due(member)
  local at = read('ZSCORE', due, member)
  return at and tonumber(at) <= now_ms
end
local function live_revision(member)
  local revision = read('HGET', revisions, member)
  if revision and is_due(member) then return false end
  return revision
end
)lua";

// What writes: the check that nothing can fail half-way, revisions, and the word of what changed.
const std::string kWriter = kBucket + R"lua(
local documents = ARGV[1]
read('ZCARD', index) read('HLEN', revisions) read('ZCARD', due) read('HLEN', sequences) read('XLEN', changes)
local before = read('HMGET', counters, 'revision', 'change')
local last = tonumber(before[1] or '0') or 0
local function next_revision()
  last = math.max(last + 1, now_us)
  return decimal(last)
end
local function remove(member)
  redis.call('DEL', documents .. member)
  redis.call('ZREM', index, member)
  redis.call('HDEL', revisions, member)
  redis.call('ZREM', due, member)
end
local function publish(hints)
  local id = next_revision() .. '-0'
  local previous = before[2] or ''
  if redis.pcall('XADD', changes, 'MAXLEN', '~', '256', id, 'previous', previous, unpack(hints)).err then
    redis.call('DEL', changes)  -- made by hand, or by a clock that ran ahead: whoever reads on notices the gap
    redis.call('XADD', changes, id, 'previous', '', unpack(hints))
  end
  redis.call('HSET', counters, 'revision', decimal(last), 'change', id)
end
)lua";

const std::string kGet = kBucket + R"lua(
local revision = live_revision(ARGV[2])
if not revision then return false end
local value = read('GET', ARGV[1] .. ARGV[2])
if not value then error('DAMAGED at ' .. ARGV[1] .. ARGV[2]) end
return {value, revision}
)lua";

const std::string kScan = kBucket + R"lua(
local documents, limit, budget = ARGV[1], tonumber(ARGV[4]), tonumber(ARGV[5])
local members = read('ZRANGEBYLEX', index, ARGV[2], ARGV[3], 'LIMIT', 0, limit)
if #members == 0 then return {''} end
local over = {}
for _, member in ipairs(read('ZRANGEBYSCORE', due, '-inf', decimal(now_ms))) do over[member] = true end
local known = read('HMGET', revisions, unpack(members))
local answer = {#members == limit and '(' .. members[#members] or ''}
local bytes = 0
for i, member in ipairs(members) do
  if not over[member] then
    local value = read('GET', documents .. member)
    if not value or not known[i] then error('DAMAGED at ' .. documents .. member) end
    answer[#answer + 1] = member
    answer[#answer + 1] = value
    answer[#answer + 1] = known[i]
    bytes = bytes + #value
    if bytes >= budget and i < #members then
      answer[1] = '(' .. member
      break
    end
  end
end
return answer
)lua";

const std::string kCount = kBucket + R"lua(
local found = read('ZLEXCOUNT', index, ARGV[1], ARGV[2])
local prefix = ARGV[3]
for _, member in ipairs(read('ZRANGEBYSCORE', due, '-inf', decimal(now_ms))) do
  if string.sub(member, 1, #prefix) == prefix then found = found - 1 end
end
return found
)lua";

const std::string kCommit = kWriter + R"lua(
local marker, prefix = KEYS[7], ARGV[2]
local told = read('GET', marker)
if told then
  redis.call('PEXPIRE', marker, ARGV[4])  -- a write, for WAIT counts who has this connection's last one
  return cmsgpack.unpack(told)
end
if now_ms > tonumber(ARGV[3]) then return {'LATE', decimal(now_ms)} end
local at = 5
local function argument()
  at = at + 1
  return ARGV[at]
end
for _ = 1, tonumber(ARGV[5]) do
  local kind, key, wanted = argument(), argument(), argument()
  local revision = live_revision(prefix .. key)
  if kind == '1' and revision then return {'CONFLICT', key, 'exists already'} end
  if kind ~= '1' and not revision then return {'CONFLICT', key, 'does not exist'} end
  if kind == '3' and revision ~= wanted then return {'CONFLICT', key, 'has another revision'} end
end
local function next_key(stem)
  while true do
    local number = (tonumber(redis.call('HGET', sequences, prefix .. stem) or '0') or 0) + 1
    redis.call('HSET', sequences, prefix .. stem, decimal(number))
    local key = stem .. string.format('%016x', number)
    if not live_revision(prefix .. key) then return key end
  end
end
local answer, hints = {'OK'}, {}
for _ = 1, tonumber(argument()) do
  local kind, key, value, ttl = argument(), argument(), argument(), tonumber(argument())
  local revision = '0'
  if kind == '2' then
    remove(prefix .. key)
  else
    if kind == '3' then key = next_key(key) end
    local member = prefix .. key
    revision = next_revision()
    redis.call('SET', documents .. member, value)
    redis.call('ZADD', index, 0, member)
    redis.call('HSET', revisions, member, revision)
    if ttl == 0 then redis.call('ZREM', due, member) else redis.call('ZADD', due, decimal(now_ms + ttl), member) end
  end
  answer[#answer + 1] = key
  answer[#answer + 1] = revision
  hints[#hints + 1] = prefix .. key
  hints[#hints + 1] = revision
end
if #hints > 0 then publish(hints) end
-- Without operations too: so WAIT has a write to wait behind, and what the conditions found is as durable as the answer.
redis.call('SET', marker, cmsgpack.pack(answer), 'PX', ARGV[4])
return answer
)lua";

const std::string kPurge = kWriter + R"lua(
local hints = {}
for _, member in ipairs(read('ZRANGEBYSCORE', due, '-inf', decimal(now_ms), 'LIMIT', 0, tonumber(ARGV[2]))) do
  remove(member)
  hints[#hints + 1] = member
  hints[#hints + 1] = '0'
end
if #hints > 0 then publish(hints) end
return #hints / 2
)lua";

const std::string kLease = kClock + R"lua(
local key, holder, action, ttl, server = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local found = read('HMGET', key, 'holder', 'epoch', 'until_ms', 'server')
if now_ms > tonumber(ARGV[5]) then return {'LATE', decimal(now_ms)} end
local epoch, ends = tonumber(found[2] or '0') or 0, tonumber(found[3] or '0') or 0
local held = found[1] and found[1] ~= '' and ends > now_ms
local own = held and found[1] == holder
-- A lease of another life of the server may have been lost and made again meanwhile: its holder takes it anew.
local renewable = own and found[4] == server
local allowed = own
if action == '1' then allowed = own or not held end
if action == '2' then allowed = renewable end
if not allowed then
  if held then return {'CONFLICT', found[1], decimal(epoch), decimal(ends - now_ms)} end
  return {'CONFLICT', '', decimal(epoch), '0'}
end
if action == '3' then
  holder, ends = '', now_ms
else
  -- Never less than the clock: an epoch that a failover lost is not given out again.
  if not renewable then epoch = math.max(epoch + 1, now_ms) end
  ends = now_ms + ttl
end
redis.call('HSET', key, 'holder', holder, 'epoch', decimal(epoch), 'until_ms', decimal(ends), 'server', server)
return {'OK', holder, decimal(epoch), decimal(ends - now_ms)}
)lua";

std::string sha1_hex(const std::string& text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha1(), nullptr);
  std::string out;
  for (unsigned int i = 0; i < size; ++i) {
    constexpr char kSha1Digits[] = "0123456789abcdef";
    out += {kSha1Digits[digest[i] >> 4], kSha1Digits[digest[i] & 15]};
  }
  return out;
}

}  // namespace

Script::Script(std::string text) : text_(std::move(text)), sha_(sha1_hex(text_)) {}

const Script& get_script() {
  static const Script* const made = new Script(kGet);
  return *made;
}
const Script& scan_script() {
  static const Script* const made = new Script(kScan);
  return *made;
}
const Script& count_script() {
  static const Script* const made = new Script(kCount);
  return *made;
}
const Script& commit_script() {
  static const Script* const made = new Script(kCommit);
  return *made;
}
const Script& purge_script() {
  static const Script* const made = new Script(kPurge);
  return *made;
}
const Script& lease_script() {
  static const Script* const made = new Script(kLease);
  return *made;
}

}  // namespace roost::store_redis
