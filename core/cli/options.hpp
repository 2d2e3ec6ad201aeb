// Options: what the command line said, as plain values; command_line.cpp fills them. Thread safety: a plain value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace roost::cli {

enum class Form { table, json, name };

struct Options {
  // Of every command.
  std::string context, url, key_file, ca_file;
  Form form = Form::table;
  bool quiet = false;
  std::int64_t timeout_ms = 0;  // of the whole command; 0: not given
  bool watch = false;
  std::int64_t interval_ms = 2'000;
  std::optional<bool> wait;  // --wait, --no-wait; none: the command's own habit
  bool yes = false;

  // Of some; each command says which.
  std::string id;  // a session's, a backup's or an operation's
  std::string user;
  std::string session;
  std::string text;  // a message, or up|down
  std::string path;  // in a backup
  std::string to;    // a local file
  std::string after;
  std::string idempotency_key;
  std::string reason, until;
  std::int64_t limit = 0;  // 0: all
  bool force = false;
  bool skip_backup = false, accept_losses = false, override_retention = false;
  bool as_new = false;
  bool client_only = false;
  std::vector<std::string> words;  // of a command line that is to be completed
};

}  // namespace roost::cli
