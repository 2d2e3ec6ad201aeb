#include "cli/command_line.hpp"

#include <gtest/gtest.h>

#include "cli/command_tree.hpp"
#include "cli/commands.hpp"

namespace roost::cli {
namespace {

CommandLine parse(std::vector<const char*> words) {
  words.insert(words.begin(), "roostctl");
  return parse_command_line(static_cast<int>(words.size()), words.data());
}

TEST(CommandLine, FindsTheCommandAndItsArguments) {
  const CommandLine line = parse({"session", "create", "john@example.com", "--wait", "--timeout", "5m"});
  EXPECT_EQ(line.command, &session_create);
  EXPECT_EQ(line.options.user, "john@example.com");
  EXPECT_EQ(line.options.wait, true);
  EXPECT_EQ(line.options.timeout_ms, 300'000);
}

TEST(CommandLine, CommonOptionsMayStandAnywhere) {
  for (const auto& line : {parse({"--json", "session", "list"}), parse({"session", "--json", "list"}),
                           parse({"session", "list", "--json"}), parse({"session", "ls", "-o", "json"})}) {
    EXPECT_EQ(line.command, &session_list) << line.text;
    EXPECT_EQ(line.options.form, Form::json);
  }
}

TEST(CommandLine, AnArgumentMayBeTheNameOfACommand) {
  const CommandLine line = parse({"chat", "send", "1823b3a8", "events"});
  EXPECT_EQ(line.command, &chat_send);
  EXPECT_EQ(line.options.text, "events");
  EXPECT_EQ(parse({"session", "create", "list"}).options.user, "list");
  EXPECT_EQ(parse({"chat", "send", "1823b3a8", "--", "--wait"}).options.text, "--wait");
}

TEST(CommandLine, WhatIsWrongIsUsage) {
  for (const auto& words : std::vector<std::vector<const char*>>{{},
                                                                 {"session"},
                                                                 {"sesion", "list"},
                                                                 {"session", "get"},
                                                                 {"session", "get", "a", "b"},
                                                                 {"session", "list", "--limit", "0"},
                                                                 {"session", "list", "--limit", "many"},
                                                                 {"session", "list", "-o", "xml"},
                                                                 {"session", "scale", "a", "sideways"},
                                                                 {"session", "list", "--timeout", "0"},
                                                                 {"session", "list", "--key", "secret"},
                                                                 {"backup", "hold", "a"}}) {
    const CommandLine line = parse(words);
    EXPECT_EQ(line.command, nullptr);
    EXPECT_EQ(line.exit, Exit::usage);
    EXPECT_FALSE(line.text.empty());
  }
}

TEST(CommandLine, HelpAndVersionAreNoErrors) {
  const CommandLine help = parse({"backup", "restore", "--help"});
  EXPECT_EQ(help.exit, Exit::ok);
  EXPECT_EQ(help.command, nullptr);
  EXPECT_NE(help.text.find("--as-new"), std::string::npos);
  EXPECT_NE(parse({"--help"}).text.find("Exit codes"), std::string::npos);
  EXPECT_EQ(parse({"--version"}).text.substr(0, 9), "roostctl ");
}

TEST(CommandLine, ThereIsNoOptionThatTakesAKey) {
  EXPECT_EQ(parse({"--help"}).text.find("--key "), std::string::npos);
  EXPECT_EQ(parse({"--api-key", "x", "session", "list"}).exit, Exit::usage);
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = text.find('\n', at);
    const std::string line = text.substr(at, end - at);
    words.push_back(line.substr(0, line.find('\t')));
    at = end + 1;
  }
  return words;
}

TEST(Complete, OffersCommandsOptionsAndValues) {
  Contexts contexts;
  contexts.entries["prod"] = {"https://a", "", "", "", ""};
  contexts.entries["dev"] = {"https://b", "", "", "", ""};
  using Words = std::vector<std::string>;
  const auto offered = [&](const Words& words) { return words_of(complete(words, contexts).text); };
  EXPECT_EQ(offered({"sess"}), Words{"session"});
  EXPECT_EQ(offered({"session", "s"}), (Words{"status", "sleep", "scale"}));
  EXPECT_EQ(offered({"s", "w"}), Words{"wake"});
  EXPECT_EQ(offered({"session", "list", "--us"}), Words{"--user"});
  EXPECT_EQ(offered({"session", "list", "--cont"}), Words{"--context"});
  EXPECT_EQ(offered({"--context", "p"}), Words{"prod"});
  EXPECT_EQ(offered({"config", "use", ""}), (Words{"dev", "prod"}));
  EXPECT_EQ(offered({"--context", "prod", "session", "scale", "1823b3a8", ""}), (Words{"up", "down"}));
  EXPECT_EQ(offered({"-o", "j"}), Words{"json"});
  EXPECT_EQ(complete({"--key-file", "x"}, contexts).text, ":files\n");
  EXPECT_TRUE(offered({"config", "use", "prod", ""}).empty());
  EXPECT_TRUE(offered({}).size() > 5);
  EXPECT_TRUE(offered({"nonsense", "", "--", "x", "", ""}).size() > 0);
}

TEST(Complete, SaysWhichIdsTheServerIsToBeAskedFor) {
  using Ids = Completion::Ids;
  const auto wanted = [](const std::vector<std::string>& words) { return complete(words, {}).ids; };
  EXPECT_EQ(wanted({"session", "get", ""}), Ids::sessions);
  EXPECT_EQ(wanted({"s", "rm", "18"}), Ids::sessions);
  EXPECT_EQ(wanted({"chat", "send", ""}), Ids::sessions);
  EXPECT_EQ(wanted({"backup", "create", ""}), Ids::sessions);
  EXPECT_EQ(wanted({"backup", "get", ""}), Ids::backups);
  EXPECT_EQ(wanted({"b", "restore", "1823b3a8-20251115T035136Z", "--into", ""}), Ids::sessions);
  EXPECT_EQ(wanted({"backup", "list", "--session", ""}), Ids::sessions);
  EXPECT_EQ(wanted({"backup", "list", "--session=18"}), Ids::sessions);
  EXPECT_EQ(complete({"backup", "list", "--session=18"}, {}).prefix, "18");
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{{},
                                                                                     {""},
                                                                                     {"session", ""},
                                                                                     {"session", "create", ""},
                                                                                     {"session", "get", "1823b3a8", ""},
                                                                                     {"session", "get", "--"},
                                                                                     {"backup", "list", "--user", ""},
                                                                                     {"chat", "send", "1823b3a8", ""},
                                                                                     {"operation", "get", ""}}) {
    EXPECT_EQ(wanted(words), Ids::none) << (words.empty() ? "" : words.front());
  }
}

TEST(Complete, AsksTheServerThatTheWordsSay) {
  const Completion said = complete(
      {"--url", "http", ":", "//a.example", ":", "8080", "--key-file=k", "session", "--context", "dev", "get", "18"}, {});
  EXPECT_EQ(said.options.url, "http://a.example:8080") << "as bash takes it apart";
  EXPECT_EQ(said.options.key_file, "k");
  EXPECT_EQ(said.options.context, "dev");
  EXPECT_EQ(said.ids, Completion::Ids::sessions);
  EXPECT_EQ(said.prefix, "18");
}

TEST(Manual, HasEveryCommandAndOption) {
  const std::string page = manual();
  EXPECT_TRUE(page.starts_with(".TH ROOSTCTL 1"));
  CommandLine line;
  CommandTree tree(line);
  std::vector<const CLI::App*> apps{&tree.app()};
  int seen = 0;
  for (std::size_t i = 0; i < apps.size(); ++i) {
    for (const CLI::App* app : commands_of(*apps[i])) apps.push_back(app);
    if (i > 0 && commands_of(*apps[i]).empty()) {
      EXPECT_NE(page.find(apps[i]->get_name() + "\\fR"), std::string::npos) << apps[i]->get_name();
    }
    for (const CLI::Option* option : apps[i]->get_options()) {
      for (std::string name : option->get_lnames()) {
        if (name == "help") continue;
        for (std::size_t at = 0; (at = name.find('-', at)) != std::string::npos; at += 2) name.insert(at, "\\");
        EXPECT_NE(page.find("\\fB\\-\\-" + name + "\\fR"), std::string::npos) << name;
        ++seen;
      }
    }
  }
  EXPECT_GT(seen, 40);
}

}  // namespace
}  // namespace roost::cli
