// `roost-agent chat -- COMMAND`: runs a command for each message of the session's queue; see commands.hpp.
#include "agent/chat.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "agent/commands.hpp"
#include "base/crypto.hpp"

extern char** environ;

namespace roost::agent {
namespace {

namespace beast = boost::beast::http;

constexpr std::int64_t kAnswerMs = 150'000;
constexpr std::int64_t kWaitS = 30;
constexpr std::int64_t kGraceMs = 10'000;  // between SIGTERM and SIGKILL of a command
constexpr std::int64_t kMaxBackoffMs = 30'000;
constexpr std::size_t kMaxAnswer = 4 << 20;
constexpr std::size_t kMaxReply = 64'000;  // of JSON; the API takes 65,536
constexpr std::size_t kMaxOutput = 64 << 10;
constexpr const char* kUsage =
    "usage: roost-agent chat [--once] [--visibility SECONDS] -- COMMAND [ARGUMENT…]\n"
    "  COMMAND gets a message on standard input, its id and attempt as ROOST_MESSAGE_ID and ROOST_MESSAGE_ATTEMPT; what it "
    "writes\n"
    "  to standard output is the reply, when it ends with 0 within the visibility (300 s by default). Else the message comes "
    "again.\n";

// True: fd is ready. False: the deadline passed, or `stop` is readable (then stopped is set).
bool wait_or_stop(int fd, short events, int stop, std::int64_t deadline_ms, bool& stopped) {
  for (;;) {
    pollfd watched[2] = {{fd, events, 0}, {stop, POLLIN, 0}};
    const std::int64_t left = std::clamp<std::int64_t>(deadline_ms - monotonic_ms(), 0, 3'600'000);
    const int n = ::poll(watched, 2, static_cast<int>(left));
    if (n < 0 && errno == EINTR) continue;
    stopped = stop >= 0 && (watched[1].revents & POLLIN) != 0;
    if (stopped) return false;
    if (watched[0].revents != 0) return true;
    if (monotonic_ms() >= deadline_ms || n < 0) return false;
  }
}

Code code_of(unsigned status) {
  if (status == 409) return Code::conflict;
  return status == 404 ? Code::not_found : Code::unavailable;
}

struct Options {
  bool once = false;
  std::int64_t visibility_s = 300;
  std::vector<char*> command;  // ends with a null
};

Result<Options> parse(int argc, char** argv) {
  Options options;
  int i = 0;
  for (; i < argc && std::strcmp(argv[i], "--") != 0; ++i) {
    const std::string_view word = argv[i];
    if (word == "--once") {
      options.once = true;
    } else if (word == "--visibility" && i + 1 < argc) {
      const std::string_view number = argv[++i];
      const auto read = std::from_chars(number.data(), number.data() + number.size(), options.visibility_s);
      const bool whole = read.ec == std::errc{} && read.ptr == number.data() + number.size();
      if (!whole || options.visibility_s < 1 || options.visibility_s > 3600)
        return Error{Code::invalid, "--visibility: 1 to 3600 seconds", 0};
    } else {
      return Error{Code::invalid, "unknown argument: " + std::string(word), 0};
    }
  }
  if (i + 1 >= argc) return Error{Code::invalid, "the command is missing: roost-agent chat -- COMMAND", 0};
  options.command.assign(argv + i + 1, argv + argc);
  options.command.push_back(nullptr);
  return options;
}

// A program, a descriptor that tells its end, and its standard input and output.
struct Command {
  pid_t pid = -1;
  Fd process;
  Fd input;
  Fd output;
};

Result<Command> start(const Options& options, const Json& message) {
  ROOST_TRY(Pipe input, make_pipe());
  ROOST_TRY(Pipe output, make_pipe());
  const std::string id = message["id"].as_string();
  const std::string attempt = std::to_string(message["attempt"].as_int());
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) return errno_error("fork");
  if (pid == 0) {
    ::setpgid(0, 0);  // a group of its own: its children end with it
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
    ::dup2(input.read.get(), STDIN_FILENO);
    ::dup2(output.write.get(), STDOUT_FILENO);
    ::setenv("ROOST_MESSAGE_ID", id.c_str(), 1);
    ::setenv("ROOST_MESSAGE_ATTEMPT", attempt.c_str(), 1);
    ::execvp(options.command[0], options.command.data());
    std::fprintf(stderr, "roost-agent chat: %s: %s\n", options.command[0], std::strerror(errno));
    ::_exit(127);
  }
  ::setpgid(pid, pid);
  Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process.open()) {
    const Error error = errno_error("pidfd_open");
    ::kill(-pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return error;
  }
  ::fcntl(input.write.get(), F_SETFL, O_NONBLOCK);
  ::fcntl(output.read.get(), F_SETFL, O_NONBLOCK);
  return Command{pid, std::move(process), std::move(input.write), std::move(output.read)};
}

class Consumer {
 public:
  Consumer(Options options, std::string socket, int signals)
      : options_(std::move(options)), socket_(std::move(socket)), signals_(signals) {}

  int run();

 private:
  enum class Outcome { done, failed, nothing };
  Outcome serve_one();
  bool run_command(const Json& message, std::string& output);
  bool converse(Command& command, std::string_view input, std::string& output);
  void say(const std::string& text);

  Options options_;
  std::string socket_;
  int signals_;
  bool stopping_ = false;
  std::int64_t backoff_ms_ = 0;
  std::string said_;
};

// The same trouble is said once, not at each try.
void Consumer::say(const std::string& text) {
  if (text != said_ && !text.empty()) std::fprintf(stderr, "roost-agent chat: %s\n", text.c_str());
  said_ = text;
}

// What there is of its output; the end closes it. More than a reply can hold is read and dropped.
void read_output(Command& command, std::string& output) {
  char buffer[16 << 10];
  for (;;) {
    const ssize_t n = ::read(command.output.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return command.output.reset();
    const std::size_t room = kMaxOutput + 1 - std::min(output.size(), kMaxOutput + 1);  // one more tells that it is cut
    output.append(buffer, std::min(static_cast<std::size_t>(n), room));
  }
}

// Writes the message and reads the reply until the command ends; asks it to end at the deadline and when we are asked to, and
// kills it when it does not. True iff it was in time.
bool Consumer::converse(Command& command, std::string_view input, std::string& output) {
  std::int64_t deadline_ms = monotonic_ms() + options_.visibility_s * 1000;
  bool in_time = true;
  bool asked = false;
  for (;;) {
    if (input.empty()) command.input.reset();
    pollfd watched[4] = {{command.process.get(), POLLIN, 0},
                         {command.output.get(), POLLIN, 0},
                         {command.input.get(), POLLOUT, 0},
                         {asked ? -1 : signals_, POLLIN, 0}};
    const std::int64_t left = std::clamp<std::int64_t>(deadline_ms - monotonic_ms(), 0, 3'600'000);
    const int n = ::poll(watched, 4, static_cast<int>(left));
    if (n < 0 && errno == EINTR) continue;
    const bool late = n <= 0;
    if (late && asked) ::kill(-command.pid, SIGKILL);
    if (!asked && (late || watched[3].revents != 0)) {
      asked = true;
      in_time = !late;
      stopping_ = !late;
      ::kill(-command.pid, SIGTERM);
    }
    if (late) deadline_ms = monotonic_ms() + kGraceMs;
    if (late) continue;
    if (watched[3].revents != 0) deadline_ms = std::min(deadline_ms, monotonic_ms() + kGraceMs);
    if (watched[2].revents != 0) {
      const ssize_t written = ::write(command.input.get(), input.data(), input.size());
      if (written > 0) input.remove_prefix(static_cast<std::size_t>(written));
      if (written < 0 && errno != EAGAIN && errno != EINTR) input = {};  // it need not read all of it
    }
    if (watched[1].revents != 0) read_output(command, output);
    if (watched[0].revents != 0) {
      if (command.output.open()) read_output(command, output);  // its children may hold it open: no reason to wait
      return in_time;
    }
  }
}

// True iff the command ended with 0 in time. Nothing of its group is left then.
bool Consumer::run_command(const Json& message, std::string& output) {
  auto command = start(options_, message);
  if (!command) return say(command.error().message), false;
  const bool in_time = converse(*command, message["message"].as_string(), output);
  ::kill(-command->pid, SIGKILL);  // what it left behind, while its pid still stands for the group
  int status = 0;
  ::waitpid(command->pid, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && in_time) return true;
  const std::string how = !in_time            ? "took longer than the visibility"
                          : WIFEXITED(status) ? "ended with " + std::to_string(WEXITSTATUS(status))
                                              : "was ended by signal " + std::to_string(WTERMSIG(status));
  std::fprintf(stderr, "roost-agent chat: message %s, attempt %lld: the command %s; the message comes again\n",
               message["id"].as_string().c_str(), static_cast<long long>(message["attempt"].as_int()), how.c_str());
  return false;
}

Consumer::Outcome Consumer::serve_one() {
  const Json wanted = Json::object({{"max", 1}, {"wait_s", kWaitS}, {"visibility_s", options_.visibility_s}});
  auto claimed = ask_api(socket_, "/messages/claim", wanted, signals_);
  if (!claimed) {
    if (claimed.error().code == Code::cancelled) {
      stopping_ = true;
      return Outcome::nothing;
    }
    say(claimed.error().message);
    backoff_ms_ = std::clamp<std::int64_t>(backoff_ms_ * 2, 500, kMaxBackoffMs);
    bool stopped = false;
    (void)wait_or_stop(-1, 0, signals_, monotonic_ms() + backoff_ms_, stopped);
    stopping_ = stopped;
    return Outcome::nothing;
  }
  backoff_ms_ = 0;
  say("");
  const Json& messages = (*claimed)["messages"];
  if (messages.items().empty()) return Outcome::nothing;
  const Json& message = messages.items().front();
  std::string output;
  if (!run_command(message, output)) return Outcome::failed;
  const Json answer = Json::object({{"claim", message["claim"]}, {"reply", reply_of(output)}});
  const auto acked = ask_api(socket_, "/messages/" + message["id"].as_string() + "/ack", answer, -1);
  if (acked) return Outcome::done;
  std::fprintf(stderr, "roost-agent chat: message %s: the reply was not taken: %s\n", message["id"].as_string().c_str(),
               acked.error().message.c_str());
  return Outcome::failed;
}

int Consumer::run() {
  while (!stopping_) {
    const Outcome outcome = serve_one();
    if (options_.once && outcome != Outcome::nothing) return outcome == Outcome::done ? 0 : 1;
  }
  return 0;
}

}  // namespace

Result<Json> ask_api(const std::string& socket, const std::string& target, const Json& body, int stop) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.size() >= sizeof address.sun_path) return Error{Code::invalid, socket + ": too long for a socket", 0};
  std::memcpy(address.sun_path, socket.data(), socket.size());
  const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.open() || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return errno_error("the workspace's API at " + socket);
  const std::string text = body.dump();
  const std::string request =
      "POST " + target +
      " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(text.size()) +
      "\r\nConnection: close\r\n\r\n" + text;
  for (std::string_view left = request; !left.empty();) {
    const ssize_t n = ::send(fd.get(), left.data(), left.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;  // it may have answered already
    left.remove_prefix(static_cast<std::size_t>(n));
  }
  beast::response_parser<beast::string_body> parser;
  parser.body_limit(kMaxAnswer);
  boost::system::error_code error;
  std::string in;
  const std::int64_t deadline_ms = monotonic_ms() + kAnswerMs;
  while (!parser.is_done()) {
    bool stopped = false;
    if (!wait_or_stop(fd.get(), POLLIN, stop, deadline_ms, stopped))
      return Error{stopped ? Code::cancelled : Code::deadline, stopped ? "asked to stop" : "the API does not answer", 0};
    char buffer[16 << 10];
    const ssize_t n = ::recv(fd.get(), buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("the workspace's API");
    if (n == 0) {
      parser.put_eof(error);
      if (error || !parser.is_done()) return Error{Code::unavailable, "the API broke off its answer", 0};
      break;
    }
    in.append(buffer, static_cast<std::size_t>(n));
    while (!in.empty() && !parser.is_done()) {
      in.erase(0, parser.put(boost::asio::buffer(in), error));
      if (error == beast::error::need_more) break;
      if (error) return Error{Code::unavailable, "the API's answer cannot be read: " + error.message(), 0};
    }
  }
  auto answer = Json::parse(parser.get().body());
  if (!answer) return answer.error().context("the API's answer");
  const unsigned status = parser.get().result_int();
  if (status == 200) return answer;
  const std::string detail = (*answer)["detail"].as_string();
  return Error{code_of(status), "the API answered " + std::to_string(status) + (detail.empty() ? "" : ": " + detail), 0};
}

Json reply_of(std::string_view output) {
  bool cut = output.size() > kMaxOutput;
  std::string text(output.substr(0, kMaxOutput));
  for (;;) {
    // A character that the cut went through is dropped whole; anything else that is no UTF-8 was so already.
    if (cut) {
      std::size_t end = text.size();
      while (end > 0 && end + 4 > text.size() && (static_cast<unsigned char>(text[end - 1]) & 0xC0u) == 0x80u) --end;
      if (end > 0 && (static_cast<unsigned char>(text[end - 1]) & 0xC0u) == 0xC0u && !valid_utf8(text.substr(end - 1)))
        text.resize(end - 1);
    }
    if (!valid_utf8(text)) {
      for (char& c : text)
        if ((static_cast<unsigned char>(c) & 0x80u) != 0) c = '?';
    }
    Json reply = Json::object({{"text", text}});
    if (cut) reply.set("truncated", true);
    if (reply.dump().size() <= kMaxReply) return reply;
    cut = true;
    text.resize(text.size() * 3 / 4);  // escapes made it longer
  }
}

int chat(int argc, char** argv) {
  auto options = parse(argc, argv);
  if (!options) {
    std::fprintf(stderr, "roost-agent chat: %s\n%s", options.error().message.c_str(), kUsage);
    return 2;
  }
  const char* const socket = std::getenv("ROOST_API_SOCKET");
  if (socket == nullptr) {
    std::fputs("roost-agent chat: ROOST_API_SOCKET is not set: this runs inside a workspace\n", stderr);
    return 2;
  }
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  const Fd signals(::signalfd(-1, &set, SFD_CLOEXEC));
  if (!signals.open()) {
    std::fprintf(stderr, "roost-agent chat: %s\n", errno_error("signalfd").message.c_str());
    return 1;
  }
  return Consumer(std::move(*options), socket, signals.get()).run();
}

}  // namespace roost::agent
