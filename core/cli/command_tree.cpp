#include "cli/command_tree.hpp"

#include "cli/commands.hpp"
#include "cli/text.hpp"

namespace roost::cli {
namespace {

constexpr const char* kFooter =
    "Exit codes: 0 ok, 1 refused or failed, 2 usage, 3 not found, 4 conflict or blocked, 5 not allowed, 6 unavailable or out of "
    "time,\n"
    "130 interrupted. Environment: ROOST_URL, ROOST_API_KEY, NO_COLOR. The whole of it: docs/roostctl.md\n";

CLI::Option* needs(CLI::App* leaf, const char* name, std::string& to, const char* what) {
  return leaf->add_option(name, to, what)->required();
}

}  // namespace

CommandTree::CommandTree(CommandLine& line)
    : line_(line), app_("Workspaces, their chat and their backups, over Roost's API.", "roostctl") {
  app_.footer(kFooter);
  app_.fallthrough();  // the options of every command may stand anywhere
  app_.require_subcommand(1);
  app_.set_version_flag("--version", "roostctl " ROOST_VERSION);
  add_common();
  add_session();
  add_chat();
  add_backup();
  add_rest();
  add_config();
}

CLI::App* CommandTree::group(const char* name, const char* what, const std::vector<std::string>& aliases) {
  CLI::App* group = app_.add_subcommand(name, what)->require_subcommand(1);
  for (const std::string& alias : aliases) group->alias(alias);
  return group;
}

CLI::App* CommandTree::command(CLI::App* parent, const char* name, const char* what, Command run) {
  CLI::App* leaf = parent->add_subcommand(name, what);
  leaf->callback([this, run] { line_.command = run; });
  return leaf;
}

CLI::Option* CommandTree::duration(CLI::App* app, const char* name, std::int64_t& to, const char* what) {
  return app
      ->add_option_function<std::string>(
          name,
          [&to](const std::string& text) {
            const auto ms = parse_duration_ms(text);
            if (!ms.ok()) throw CLI::ValidationError(ms.error().message);
            to = *ms;
          },
          what)
      ->type_name("TIME");
}

// Commands with a habit of waiting or of not waiting.
void CommandTree::waits(CLI::App* leaf, const char* what) {
  leaf->add_flag_callback(
      "--wait", [this] { line_.options.wait = true; }, what);
  leaf->add_flag_callback(
      "--no-wait", [this] { line_.options.wait = false; }, "Return as soon as it is recorded");
}

void CommandTree::watches(CLI::App* leaf) {
  leaf->add_flag("-w,--watch", line_.options.watch, "Again and again, until interrupted");
  duration(leaf, "--interval", line_.options.interval_ms, "How often, with --watch (2s)");
}

void CommandTree::limits(CLI::App* leaf) {
  leaf->add_option("--limit", line_.options.limit, "At most so many (all)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1'000'000}))
      ->type_name("N");
}

void CommandTree::add_common() {
  Options& o = line_.options;
  app_.add_option("--context", o.context, "A server of the configuration, instead of the one in use")->type_name("NAME");
  app_.add_option("--url", o.url, "The server (ROOST_URL; http://127.0.0.1:8080)")->type_name("URL");
  app_.add_option("--key-file", o.key_file,
                  "A file that holds the API key; -: asked for, or read from standard input (ROOST_API_KEY)")
      ->type_name("FILE");
  app_.add_option("--ca-file", o.ca_file, "The authorities that the server's certificate may be of, PEM")->type_name("FILE");
  app_.add_option("-o,--output", o.form, "table, json (the API's own answer) or name (ids only)")
      ->transform(CLI::CheckedTransformer(kForms))
      ->type_name("FORM");
  app_.add_flag_callback(
      "--json", [&o] { o.form = Form::json; }, "The same as -o json");
  app_.add_flag("-q,--quiet", o.quiet, "No progress, no notes");
  duration(&app_, "--timeout", o.timeout_ms,
           "For all of the command: 30s, 5m, 2h (30s a request; waits and downloads have none)");
}

void CommandTree::add_session() {
  Options& o = line_.options;
  CLI::App* session = group("session", "Workspaces", {"sessions", "s"});
  CLI::App* leaf = command(session, "create", "Make a workspace for a user and start it", session_create);
  needs(leaf, "USER", o.user, "Whose it is: any text of yours");
  leaf->add_option("--idempotency-key", o.idempotency_key, "The same key again: the same session, not a second one")
      ->type_name("KEY");
  waits(leaf, "Until it runs");
  leaf = command(session, "list", "All sessions", session_list)->alias("ls");
  leaf->add_option("--user", o.user, "Only this user's");
  limits(leaf);
  watches(leaf);
  leaf = command(session, "get", "Everything about one", session_get);
  needs(leaf, "SESSION", o.id, "A session's uuid");
  watches(leaf);
  leaf = command(session, "status", "Is it running", session_status);
  needs(leaf, "SESSION", o.id, "A session's uuid");
  watches(leaf);
  leaf = command(session, "sleep", "Stop it, keep its files", session_sleep);
  needs(leaf, "SESSION", o.id, "A session's uuid");
  waits(leaf, "Until it is asleep");
  leaf = command(session, "wake", "Start it again", session_wake);
  needs(leaf, "SESSION", o.id, "A session's uuid");
  waits(leaf, "Until it runs");
  leaf = command(session, "scale", "More CPU and memory, or less", session_scale);
  needs(leaf, "SESSION", o.id, "A session's uuid");
  needs(leaf, "DIRECTION", o.text, "up or down")->check(CLI::IsMember({"up", "down"}));
  leaf = command(session, "delete", "Back up, verify the backup, delete", session_delete)->alias("rm");
  needs(leaf, "SESSION", o.id, "A session's uuid");
  waits(leaf, "Until it is deleted (this is what it does)");
  leaf->add_flag("--skip-backup", o.skip_backup, "Give the files up: no backup (an admin's key)");
  leaf->add_flag("--accept-losses", o.accept_losses, "Give up what the backup had to skip (an admin's key)");
  leaf->add_flag("-y,--yes", o.yes, "Do not ask");
  leaf = command(session, "access", "A link that logs a browser in, once", session_access);
  needs(leaf, "SESSION", o.id, "A session's uuid");
  leaf = command(session, "events", "What happens to it, as it happens", session_events);
  needs(leaf, "SESSION", o.id, "A session's uuid");
}

void CommandTree::add_chat() {
  Options& o = line_.options;
  CLI::App* chat = group("chat", "Messages to what works in a workspace", {});
  CLI::App* leaf = command(chat, "send", "Queue a message", chat_send);
  needs(leaf, "SESSION", o.id, "A session's uuid");
  needs(leaf, "MESSAGE", o.text, "The text; -: from standard input");
  waits(leaf, "Until it is answered, and print the reply");
  leaf = command(chat, "history", "Messages and their replies", chat_history);
  needs(leaf, "SESSION", o.id, "A session's uuid");
  leaf->add_option("--after", o.after, "Only what came after this message")->type_name("ID");
  limits(leaf);
  watches(leaf);
  leaf = command(chat, "follow", "Messages and their replies as they come", chat_follow);
  needs(leaf, "SESSION", o.id, "A session's uuid");
  leaf->add_option("--after", o.after, "Only what came after this message")->type_name("ID");
}

void CommandTree::add_backup() {
  Options& o = line_.options;
  CLI::App* backup = group("backup", "Backups: look into them, fetch them, bring them back", {"backups", "b"});
  CLI::App* leaf = command(backup, "list", "All backups", backup_list)->alias("ls");
  leaf->add_option("--user", o.user, "Only this user's");
  leaf->add_option("--session", o.session, "Only this session's, also after its deletion")->type_name("SESSION");
  limits(leaf);
  watches(leaf);
  leaf = command(backup, "get", "Everything about one", backup_get);
  needs(leaf, "BACKUP", o.id, "A backup's id");
  watches(leaf);
  leaf = command(backup, "create", "Back a session up now", backup_create);
  needs(leaf, "SESSION", o.id, "A session's uuid");
  waits(leaf, "Until it is verified");
  leaf = command(backup, "files", "What is in one", backup_files);
  needs(leaf, "BACKUP", o.id, "A backup's id");
  leaf->add_option("PREFIX", o.path, "Only what begins with it");
  limits(leaf);
  leaf = command(backup, "download", "The whole archive, or one file of it", backup_download)->alias("get-file");
  needs(leaf, "BACKUP", o.id, "A backup's id");
  leaf->add_option("PATH", o.path, "A file in it");
  leaf->add_option("--to", o.to, "Where to (by its own name, here)")->type_name("FILE");
  leaf->add_flag("--force", o.force, "Replace what is there");
  leaf = command(backup, "cat", "One file, to standard output", backup_cat);
  needs(leaf, "BACKUP", o.id, "A backup's id");
  needs(leaf, "PATH", o.path, "A file in it");
  leaf->add_flag("--force", o.force, "Also what is not plain text, to a terminal");
  leaf = command(backup, "restore", "Bring one back: into a sleeping session, or as a new one", backup_restore);
  needs(leaf, "BACKUP", o.id, "A backup's id");
  leaf->add_option("--into", o.session, "A session that is asleep; what it holds now is backed up first")->type_name("SESSION");
  leaf->add_flag("--as-new", o.as_new, "A new session, filled from the backup");
  leaf->add_option("--user", o.user, "Whose the new session is (the backup's user)");
  waits(leaf, "Until it is restored");
  leaf = command(backup, "hold", "Keep one whatever the retention says", backup_hold);
  needs(leaf, "BACKUP", o.id, "A backup's id");
  leaf->add_option("--reason", o.reason, "Why, for those who find it")->required()->type_name("TEXT");
  leaf->add_option("--until", o.until, "30d, 2026-01-31; without: until `unhold`")->type_name("TIME");
  leaf = command(backup, "unhold", "End a hold", backup_unhold);
  needs(leaf, "BACKUP", o.id, "A backup's id");
  leaf = command(backup, "verify", "Read one again and compare it, now", backup_verify);
  needs(leaf, "BACKUP", o.id, "A backup's id");
  waits(leaf, "Until it was read");
  leaf = command(backup, "delete", "Delete one", backup_delete)->alias("rm");
  needs(leaf, "BACKUP", o.id, "A backup's id");
  leaf->add_flag("--override", o.override_retention, "Also the newest good one of a session that is gone (an admin's key)");
  leaf->add_flag("-y,--yes", o.yes, "Do not ask");
  leaf->add_option("--reason", o.reason, "Why, for the record")->type_name("TEXT");
  command(backup, "strangers", "Archives in the storage that no backup names", backup_strangers);
}

void CommandTree::add_rest() {
  Options& o = line_.options;
  CLI::App* operation = group("operation", "Long work: deletes, backups, restores", {"operations", "op"});
  CLI::App* leaf = command(operation, "get", "How far it is, or how it ended", operation_get);
  needs(leaf, "OPERATION", o.id, "Its id");
  watches(leaf);
  leaf = command(operation, "wait", "Until it has ended", operation_wait);
  needs(leaf, "OPERATION", o.id, "Its id");
  leaf = command(&app_, "events", "What happens, as it happens", events);
  leaf->add_option("--user", o.user, "Only this user's");
  leaf = command(&app_, "version", "Of roostctl and of the server", version);
  leaf->add_flag("--client", o.client_only, "Ask no server");
  command(&app_, "doctor", "Is the server there, does the key fit, do the clocks agree", doctor);
  CLI::App* completion = group("completion", "Scripts that complete commands in a shell", {});
  command(completion, "bash", "source <(roostctl completion bash)", completion_bash);
  command(completion, "zsh", "source <(roostctl completion zsh)", completion_zsh);
  command(completion, "fish", "roostctl completion fish | source", completion_fish);
}

void CommandTree::add_config() {
  Options& o = line_.options;
  CLI::App* config = group("config", "The servers that roostctl knows by name", {});
  command(config, "list", "All of them", config_list)->alias("ls");
  CLI::App* leaf = command(config, "set", "Make or change one, with --url, --key-file, --key-env, --ca-file", config_set);
  needs(leaf, "NAME", o.id, "Its name");
  leaf->add_option("--key-env", o.text, "The environment variable that holds its key")->type_name("NAME");
  leaf = command(config, "use", "The one to talk to from now on", config_use);
  needs(leaf, "NAME", o.id, "Its name");
  leaf = command(config, "delete", "Forget one", config_delete)->alias("rm");
  needs(leaf, "NAME", o.id, "Its name");
}

}  // namespace roost::cli
