// Run: one run of roostctl: which server, with which key, in which form answers are shown, and how errors become exit codes.
// The commands are functions over it. Thread safety: one thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "cli/client.hpp"
#include "cli/contexts.hpp"
#include "cli/exit_code.hpp"
#include "cli/options.hpp"
#include "cli/progress.hpp"
#include "cli/terminal.hpp"

namespace roost::cli {

// An answer of the API, as it came and as it reads.
struct Document {
  int status = 200;
  std::string text;
  Json json;
};

class Run {
 public:
  Run(const Options& options, Environment environment, Terminal terminal);
  ~Run();

  [[nodiscard]] const Options& options() const { return options_; }
  [[nodiscard]] const Environment& environment() const { return environment_; }
  [[nodiscard]] Terminal& terminal() { return terminal_; }
  [[nodiscard]] std::int64_t now_ns() const { return system_clock().monotonic_ns(); }

  // ---- the server
  struct Target {
    std::string url, key;
    std::string url_source, key_source;  // where each was said, for `doctor`
    std::string ca_file;
  };
  // Where requests go. Flags win over the environment, the environment over the context in use; a context's key goes to the
  // context's own address only. INVALID where the configuration is wrong.
  [[nodiscard]] Result<Target> target();
  [[nodiscard]] Result<Client*> client();

  // A 2xx answer that is a JSON object. An answer that is not 2xx becomes an error, and is kept for `finish`.
  [[nodiscard]] Result<Document> get(const std::string& target);
  [[nodiscard]] Result<Document> send(HttpRequest request, Repeat repeat);
  // A call that changes something, repeated safely with an idempotency key.
  [[nodiscard]] Result<Document> act(const std::string& method, const std::string& target, const Json& body = Json());
  // The error of an answer that is not 2xx.
  [[nodiscard]] Error refusal(const HttpResponse& response);

  // ---- what people see
  // The document as it came (--json), its names, or what `human` makes of it.
  void show(const Document& document, const std::function<std::string()>& names,
            const std::function<std::string(const Style&)>& human);
  void show_json(const std::string& text);
  void note(const std::string& text) const;  // on stderr, unless --quiet
  [[nodiscard]] bool json() const { return options_.form == Form::json; }
  // Asks on a terminal. INVALID without one, unless --yes.
  [[nodiscard]] Status confirm(const std::string& question);

  // ---- waiting
  [[nodiscard]] Status pause(std::int64_t ms);  // DEADLINE where --timeout is over, CANCELLED by an interrupt
  // Repeats `once` each interval while --watch is given: drawn anew on a terminal, printed where it has changed elsewhere.
  [[nodiscard]] Status watch(const std::function<Status()>& once);

  // Reports an error, if there is one, and says which exit code that is.
  [[nodiscard]] Exit finish(const Status& status);

 private:
  struct ContextState {
    std::string name, path;
    bool at_home;  // the requests go to the context's own address
    bool exposed;  // see ContextsFile
  };
  [[nodiscard]] Result<Target> find_target();
  [[nodiscard]] Status find_key(Target& target, const ContextEntry& entry, const ContextState& state);
  [[nodiscard]] std::string variable(const char* name) const;
  [[nodiscard]] Result<Document> document_of(const HttpResponse& response);

  Options options_;
  Environment environment_;
  Terminal terminal_;
  std::optional<Target> target_;  // found once: a key may have been typed for it
  std::unique_ptr<Http> http_;
  std::unique_ptr<Client> client_;
  std::optional<HttpResponse> refused_;
  std::optional<std::string> drawing_;  // while --watch: what was shown, instead of stdout
};

}  // namespace roost::cli
