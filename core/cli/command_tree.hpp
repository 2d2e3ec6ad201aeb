// CommandTree: the words of the command line as a tree of CLI11's; what parses them, what completes them and the manual are made
// from it. Thread safety: one thread.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "cli/command_line.hpp"

namespace roost::cli {

inline const std::map<std::string, Form> kForms{{"table", Form::table}, {"json", Form::json}, {"name", Form::name}};

class CommandTree {
 public:
  // What is parsed goes into `line`, which must outlive it.
  explicit CommandTree(CommandLine& line);
  [[nodiscard]] CLI::App& app() { return app_; }

 private:
  void add_common();
  void add_session();
  void add_chat();
  void add_backup();
  void add_rest();
  void add_config();

  CLI::App* group(const char* name, const char* what, const std::vector<std::string>& aliases);
  CLI::App* command(CLI::App* parent, const char* name, const char* what, Command run);
  CLI::Option* duration(CLI::App* app, const char* name, std::int64_t& to, const char* what);
  void waits(CLI::App* leaf, const char* what);
  void watches(CLI::App* leaf);
  void limits(CLI::App* leaf);

  CommandLine& line_;
  CLI::App app_;
};

// The commands of an app, in the order in which they were added.
[[nodiscard]] inline std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

}  // namespace roost::cli
