// The engine's documents in the store: their keys, and their bytes. Thread safety: pure functions.
// Partitions: a session's is the first two digits of its id; a user's and a backup's have prefixes of their own.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/ports.hpp"
#include "engine/read_model.hpp"
#include "model/message.hpp"

namespace roost::documents {

inline constexpr std::uint32_t kPage = 500;    // documents that one scan asks for
inline constexpr int kPartitions = 256;        // of sessions, and as many of backups
[[nodiscard]] std::string digits(int number);  // of a partition: "00" to "ff"; [0, kPartitions)
[[nodiscard]] std::string partition(std::string_view session_id);
[[nodiscard]] std::string user_partition(std::string_view user_id);
[[nodiscard]] std::string backup_partition(std::string_view session_id);

// Every partition but the users': those of sessions, those of backups, and what all replicas share. A user's is known from the
// sessions and tombstones that name the user.
[[nodiscard]] std::vector<std::string> fixed_partitions();

[[nodiscard]] std::string session_key(std::string_view id);
[[nodiscard]] std::string tombstone_key(std::string_view id);
[[nodiscard]] std::string message_prefix(std::string_view id);
[[nodiscard]] std::string history_prefix(std::string_view id);
// Keys that clients choose are stored hashed: they may hold anything.
[[nodiscard]] std::string idempotency_key(std::string_view id, std::string_view client_key);
[[nodiscard]] std::string user_idempotency_key(std::string_view client_key);
[[nodiscard]] std::string reservation_key(std::string_view id);
[[nodiscard]] std::string backup_key(std::string_view backup_id);
inline constexpr std::string_view kUserKey = "user";
// In a backup partition: the archives of its part of the storage that no record names.
inline constexpr std::string_view kStrangersKey = "strangers";
// A leader that lets go of the lease writes there, so that the other replicas hear of it.
inline constexpr std::string_view kLeaderPartition = "leader";
inline constexpr std::string_view kHandOverKey = "hand-over";
// Which secret key the replicas of this store have.
inline constexpr std::string_view kIdentityPartition = "identity";
inline constexpr std::string_view kIdentityKey = "secret-key";

// Stands there from the beginning of an import into this store until all of it was read back.
inline constexpr const char* kTransferPartition = "transfer";
inline constexpr const char* kImportKey = "import";
[[nodiscard]] Error half_imported();  // DATA_LOSS: why such a store is not used

// The session with the marks of its last commits, newest first.
[[nodiscard]] std::string encode(const Session&, std::string_view commits);
[[nodiscard]] Result<SessionView> decode_session(const Document&);
[[nodiscard]] std::string add_commit(std::string_view commits, std::string_view mark);
[[nodiscard]] bool has_commit(std::string_view commits, std::string_view mark);

// A message as queued: `nonce` finds it again where the answer of its commit was lost; claimed_at_us tells a clock that jumped
// back.
struct StoredMessage {
  Message message;
  std::string nonce;
  std::int64_t claimed_at_us = 0;
  std::uint64_t revision = 0;
};
[[nodiscard]] std::string encode(const StoredMessage&);
[[nodiscard]] Result<StoredMessage> decode_message(const Document&);

[[nodiscard]] Result<Tombstone> decode_tombstone(const Document&);
[[nodiscard]] Result<BackupRecord> decode_backup(const Document&);
[[nodiscard]] std::string encode_strangers(const std::vector<BackupStorage::Object>&);
[[nodiscard]] std::vector<BackupStorage::Object> decode_strangers(const Document&);  // what cannot be read is none

}  // namespace roost::documents
