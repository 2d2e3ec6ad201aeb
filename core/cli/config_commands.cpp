#include <filesystem>

#include "cli/commands.hpp"
#include "cli/text.hpp"
#include "cli/url.hpp"

namespace roost::cli {
namespace {

std::string key_text(const ContextEntry& entry) {
  if (!entry.key.empty()) return "in this file";
  if (!entry.key_file.empty()) return entry.key_file;
  return entry.key_env.empty() ? "" : "$" + entry.key_env;
}

// The whole file but for the keys themselves.
Json contexts_json(const Contexts& contexts) {
  Json list = Json::array();
  for (const auto& [name, entry] : contexts.entries) {
    list.push(Json::object({{"name", name},
                            {"current", name == contexts.current},
                            {"url", entry.url},
                            {"key", entry.key.empty() ? "" : "in this file"},
                            {"key_file", entry.key_file},
                            {"key_env", entry.key_env},
                            {"ca_file", entry.ca_file}}));
  }
  return Json::object({{"current", contexts.current}, {"contexts", std::move(list)}});
}

std::string absolute(const std::string& path) {
  std::error_code problem;
  const auto full = std::filesystem::absolute(path, problem);
  return problem ? path : full.string();
}

Error no_context(const std::string& name) {
  return {Code::not_found, "there is no context \"" + printable(name) + "\"; `roostctl config list` shows those there are", 0};
}

// The flags of this command line into the entry; what they do not name stays.
Status fill(Run& run, ContextEntry& entry) {
  const Options& options = run.options();
  if (!options.url.empty()) {
    ROOST_TRY(entry.url, base_url(options.url));
  }
  if (entry.url.empty()) return Error{Code::invalid, "a new context needs --url", 0};
  if (!options.ca_file.empty()) entry.ca_file = absolute(options.ca_file);
  if (!options.key_file.empty() && !options.text.empty())
    return Error{Code::invalid, "only one of --key-file and --key-env can be", 0};
  if (!options.key_file.empty() || !options.text.empty()) entry.key = entry.key_file = entry.key_env = "";
  entry.key_env = options.text.empty() ? entry.key_env : options.text;
  if (options.key_file == "-") {
    ROOST_TRY(const std::string typed, run.terminal().ask("API key for " + entry.url + ": ", Terminal::Echo::off));
    ROOST_TRY(entry.key, checked_key(typed, "standard input"));
  } else if (!options.key_file.empty()) {
    ROOST_TRY(const std::string read, read_key_file(options.key_file));  // so that a wrong name is seen now
    entry.key_file = absolute(options.key_file);
  }
  return {};
}

}  // namespace

Status config_list(Run& run) {
  const std::string path = contexts_path(run.environment());
  ROOST_TRY(const ContextsFile file, read_contexts(path));
  if (file.exposed) run.note("warning: " + path + " holds a key and others may read it: chmod 600 it");
  const Contexts& contexts = file.contexts;
  const Json json = contexts_json(contexts);
  const Document document{200, json.dump() + "\n", json};
  const auto names = [&] {
    std::string text;
    for (const auto& [name, entry] : contexts.entries) text += name + "\n";
    return text;
  };
  run.show(document, names, [&](const Style& style) {
    Table table({{"IN USE"}, {"NAME"}, {"URL", Table::Fit::cut}, {"KEY", Table::Fit::cut}, {"CA", Table::Fit::cut}});
    for (const auto& [name, entry] : contexts.entries) {
      table.add({name == contexts.current ? "*" : " ", name, entry.url, key_text(entry), entry.ca_file});
    }
    return table.text(style);
  });
  return {};
}

Status config_set(Run& run) {
  const std::string& name = run.options().id;
  if (!valid_context_name(name)) return Error{Code::invalid, "a context's name is of letters, digits, \".\", \"_\" and \"-\"", 0};
  return change_contexts(contexts_path(run.environment()), [&](Contexts& contexts) -> Status {
    ContextEntry entry = contexts.entries[name];
    ROOST_CHECK(fill(run, entry));
    contexts.entries[name] = entry;
    if (contexts.current.empty()) contexts.current = name;
    return {};
  });
}

Status config_use(Run& run) {
  const std::string& name = run.options().id;
  return change_contexts(contexts_path(run.environment()), [&](Contexts& contexts) -> Status {
    if (!contexts.entries.contains(name)) return no_context(name);
    contexts.current = name;
    return {};
  });
}

Status config_delete(Run& run) {
  const std::string& name = run.options().id;
  return change_contexts(contexts_path(run.environment()), [&](Contexts& contexts) -> Status {
    if (contexts.entries.erase(name) == 0) return no_context(name);
    if (contexts.current == name) contexts.current.clear();
    return {};
  });
}

}  // namespace roost::cli
