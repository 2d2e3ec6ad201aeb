#include <algorithm>
#include <cctype>
#include <utility>

#include "cli/command_tree.hpp"
#include "cli/parts.hpp"
#include "cli/text.hpp"

namespace roost::cli {
namespace {

constexpr std::int64_t kAskMs = 1'000;  // somebody has pressed a key and waits
constexpr std::size_t kLongestId = 64;

// The option that such a word is, of the command or of one around it; null where there is none.
const CLI::Option* option_of(const CLI::App* app, const std::string& word) {
  for (; app; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options()) {
      if (option->check_name(word)) return option;
    }
  }
  return nullptr;
}

bool takes_value(const CLI::Option* option) { return option && option->get_items_expected_max() > 0; }

// bash ends words at ':' and '=' too: what it took apart is put together.
std::vector<std::string> joined(const std::vector<std::string>& words) {
  std::vector<std::string> whole;
  bool open = false;  // the next one belongs to the last
  for (const std::string& word : words) {
    const bool mark = (word == ":" || word == "=") && !whole.empty() && !whole.back().empty();
    if (open || mark)
      whole.back() += word;
    else
      whole.push_back(word);
    open = mark;
  }
  return whole;
}

// Where the cursor is, and what was said before it.
struct Place {
  const CLI::App* app;
  const CLI::Option* value_of = nullptr;  // the option whose value is wanted
  int arguments = 0;                      // that stand before it
  std::string word;                       // what there is of it
};

void say(Options& options, const CLI::Option* option, const std::string& value) {
  const std::string name = option->get_name();
  if (name == "--context") options.context = value;
  if (name == "--url") options.url = value;
  if (name == "--key-file") options.key_file = value;
  if (name == "--ca-file") options.ca_file = value;
}

Place find_place(const CLI::App* app, const std::vector<std::string>& words, Options& options) {
  Place place{app, nullptr, 0, ""};
  for (const std::string& word : words) {
    place.word = word;
    const bool last = &word == &words.back();
    const std::size_t equals = word.starts_with("--") ? word.find('=') : std::string::npos;
    if (place.value_of) {
      if (last) break;
      say(options, std::exchange(place.value_of, nullptr), word);
    } else if (equals != std::string::npos) {
      const CLI::Option* option = option_of(place.app, word.substr(0, equals));
      if (!takes_value(option)) continue;
      if (last) {
        place.value_of = option;
        place.word = word.substr(equals + 1);
      } else {
        say(options, option, word.substr(equals + 1));
      }
    } else if (last) {
      break;
    } else if (word.starts_with('-')) {
      if (const CLI::Option* option = option_of(place.app, word); takes_value(option)) place.value_of = option;
    } else {
      const auto commands = commands_of(*place.app);
      const auto found = std::find_if(commands.begin(), commands.end(), [&](const CLI::App* c) { return c->check_name(word); });
      if (found == commands.end())
        ++place.arguments;
      else
        place.app = *found;
    }
  }
  return place;
}

struct Candidates {
  std::string prefix, text;
  void add(const std::string& word, std::string what) {
    if (!word.starts_with(prefix)) return;
    std::replace(what.begin(), what.end(), '\n', ' ');
    text += word + (what.empty() ? "" : "\t" + what) + "\n";
  }
};

void add_options(Candidates& to, const CLI::App* app) {
  for (; app; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) to.add("--" + name, option->get_description());
    }
  }
}

// What is wanted of a name as the help has it: "SESSION", "BACKUP", "FILE".
Completion::Ids ids_of(const std::string& what) {
  if (what == "SESSION") return Completion::Ids::sessions;
  if (what == "BACKUP") return Completion::Ids::backups;
  return Completion::Ids::none;
}

Completion::Ids add_values(Candidates& to, const CLI::Option& option, const Contexts& contexts) {
  const std::string name = option.get_name();
  if (name == "--context") {
    for (const auto& [context, entry] : contexts.entries) to.add(context, entry.url);
  } else if (name == "-o" || name == "--output") {
    for (const auto& [form, value] : kForms) to.add(form, "");
  } else if (option.get_type_name() == "FILE") {
    to.text = ":files\n";
  }
  return ids_of(option.get_type_name());
}

Completion::Ids add_arguments(Candidates& to, const Place& place, const Contexts& contexts) {
  const CLI::App* app = place.app;
  const std::string path = (app->get_parent() ? app->get_parent()->get_name() + " " : "") + app->get_name();
  if ((path == "config use" || path == "config set" || path == "config delete") && place.arguments == 0) {
    for (const auto& [name, entry] : contexts.entries) to.add(name, entry.url);
  } else if (path == "session scale" && place.arguments == 1) {
    to.add("up", "");
    to.add("down", "");
  }
  int before = place.arguments;
  for (const CLI::Option* option : app->get_options()) {
    if (option->get_positional() && before-- == 0) return ids_of(option->get_name(true));
  }
  return Completion::Ids::none;
}

// The shell puts it on the command line as it is.
bool is_plain_id(const std::string& id) {
  return !id.empty() && id.size() <= kLongestId && id.front() != '-' &&
         std::all_of(id.begin(), id.end(), [](unsigned char c) { return c < 0x80 && (std::isalnum(c) != 0 || c == '-'); });
}

}  // namespace

Completion complete(const std::vector<std::string>& words, const Contexts& contexts) {
  CommandLine line;
  CommandTree tree(line);
  Completion completion;
  const Place place = find_place(&tree.app(), joined(words), completion.options);
  completion.prefix = place.word;
  Candidates candidates{place.word, ""};
  if (place.value_of) {
    completion.ids = add_values(candidates, *place.value_of, contexts);
  } else if (place.word.starts_with('-')) {
    add_options(candidates, place.app);
  } else {
    for (const CLI::App* command : commands_of(*place.app)) candidates.add(command->get_name(), command->get_description());
    completion.ids = add_arguments(candidates, place, contexts);
  }
  completion.text = std::move(candidates.text);
  return completion;
}

std::string complete_ids(const Completion& completion, const Environment& environment) {
  if (completion.ids == Completion::Ids::none || completion.options.key_file == "-") return "";
  Options options = completion.options;
  options.quiet = true;
  options.timeout_ms = kAskMs;
  Run run(options, environment, Terminal());
  const bool sessions = completion.ids == Completion::Ids::sessions;
  const char* const list = sessions ? "sessions" : "backups";
  // All of them or none: of half a list the only one that fits need not be the one that is meant.
  const auto found = all_pages(run, std::string("/") + list, {list}, 0);
  if (!found.ok()) return "";
  Candidates candidates{completion.prefix, ""};
  for (const Json& item : found->json[list].items()) {
    const std::string& id = item[sessions ? "uuid" : "id"].as_string();
    const std::string& state = item[sessions ? "phase" : "state"].as_string();
    if (is_plain_id(id)) candidates.add(id, cut(printable(item["user_id"].as_string() + ", " + state), 60));
  }
  return candidates.text;
}

}  // namespace roost::cli
