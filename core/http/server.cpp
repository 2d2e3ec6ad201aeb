#include "http/server.hpp"

#include <condition_variable>
#include <mutex>

#include "base/clock.hpp"
#include "http/connection.hpp"
#include "http/context.hpp"
#include "http/socket.hpp"

namespace roost::http {
namespace {

constexpr int kAcceptsPerTurn = 64;
constexpr int kSpareConnections = 64;                 // past the limit, for probes
constexpr std::int64_t kAcceptPauseNs = 100'000'000;  // while descriptors or memory have run out
constexpr auto kDrainPoll = std::chrono::milliseconds(10);

}  // namespace

// Accepts on the first loop and hands the sockets out in turn. One listener rather than one a loop: with SO_REUSEPORT a second
// daemon could take the same address unnoticed, and connections would not be spread evenly.
class Acceptor final : public Pollable, public std::enable_shared_from_this<Acceptor> {
 public:
  Acceptor(std::shared_ptr<Context> context, std::vector<std::unique_ptr<LoopState>>& loops, Poco::Net::ServerSocket listener)
      : context_(std::move(context)), loops_(loops), listener_(std::move(listener)) {}

  void open() {
    loops_.front()->loop->open(listener_, shared_from_this());
    listen();
  }

  void close() {
    pause_.disarm();
    loops_.front()->loop->close(listener_);
  }

  void ready(bool, bool) override {
    for (int i = 0; i < kAcceptsPerTurn; ++i) {
      Accepted accepted = accept_one(listener_);
      if (accepted.descriptor >= 0) {
        admit(std::move(accepted));
        continue;
      }
      if (accepted.error == EAGAIN || accepted.error == EWOULDBLOCK) return;
      if (accepted.error == EMFILE || accepted.error == ENFILE || accepted.error == ENOBUFS || accepted.error == ENOMEM) {
        (void)loops_.front()->loop->wait_for(listener_, 0);  // the listener would be ready for ever
        loops_.front()->loop->arm(pause_, kAcceptPauseNs);
        return;
      }
    }
  }

  void expired(Deadline&) override { listen(); }

 private:
  void listen() {
    if (!loops_.front()->loop->wait_for(listener_, Loop::kRead)) loops_.front()->loop->arm(pause_, kAcceptPauseNs);
  }

  void admit(Accepted accepted) {
    Counters& counters = context_->counters;
    counters.accepted.fetch_add(1, std::memory_order_relaxed);
    Poco::Net::StreamSocket socket = adopt_stream(accepted.descriptor);
    const bool counted = !accepted.loopback;
    const std::int64_t over = counters.open.load(std::memory_order_relaxed) - context_->options.connections;
    if (over >= kSpareConnections || (counted && !context_->peer_opened(accepted.peer))) {
      counters.rejected.fetch_add(1, std::memory_order_relaxed);
      turn_away(socket);
      return;
    }
    counters.open.fetch_add(1, std::memory_order_relaxed);
    LoopState& home = *loops_[next_++ % loops_.size()];
    const auto place = over < 0 ? Connection::Place::ordinary : Connection::Place::spare;
    auto connection = std::make_shared<Connection>(context_, home, std::move(socket), std::move(accepted.peer), counted, place);
    if (home.loop->is_current()) {
      connection->open();
    } else {
      home.loop->post([connection] { connection->open(); });
    }
  }

  void turn_away(Poco::Net::StreamSocket& socket) {
    Response response = problem(503, kNoPlace);
    AnswerHead head;
    head.status = response.status;
    head.close = true;
    head.length = response.body.size();
    head.date = loops_.front()->loop->date();
    std::string text;
    write_answer_head(text, head, response.headers, {{"retry-after", "1"}});
    (void)send_some(socket, text + response.body);  // a courtesy: the socket's buffer is empty, so it fits
    shutdown_send(socket);
    socket.close();
  }

  const std::shared_ptr<Context> context_;
  std::vector<std::unique_ptr<LoopState>>& loops_;
  Poco::Net::ServerSocket listener_;
  std::size_t next_ = 0;
  Deadline pause_{*this};
};

class Server::Impl {
 public:
  Impl(ServerOptions options, std::vector<VirtualServer> servers)
      : context(std::make_shared<Context>(std::move(options), std::move(servers))) {
    const int count = std::max(1, context->options.loops);
    for (int i = 0; i < count; ++i) loops.push_back(std::make_unique<LoopState>(i));
  }

  Status start();
  void stop();
  // Runs `work` for each loop, on its thread, and waits until all have.
  void on_each_loop(const std::function<void(LoopState&)>& work);

  const std::shared_ptr<Context> context;
  std::vector<std::unique_ptr<LoopState>> loops;
  std::shared_ptr<Acceptor> acceptor;
  std::uint16_t port = 0;
  bool running = false;
};

Status Server::Impl::start() {
  auto listener = listen_on(context->options.listen);
  if (!listener.ok()) return listener.error();
  port = listener->address().port();
  context->draining = false;
  context->pool.start();
  for (auto& state : loops) state->loop->start();
  running = true;
  acceptor = std::make_shared<Acceptor>(context, loops, std::move(*listener));
  loops.front()->loop->post([a = acceptor] { a->open(); });
  return {};
}

void Server::Impl::on_each_loop(const std::function<void(LoopState&)>& work) {
  std::mutex mutex;
  std::condition_variable done;
  std::size_t left = loops.size();
  for (auto& state : loops) {
    state->loop->post([&, s = state.get()] {
      work(*s);
      const std::lock_guard lock(mutex);
      if (--left == 0) done.notify_all();
    });
  }
  std::unique_lock lock(mutex);
  done.wait(lock, [&] { return left == 0; });
}

void Server::Impl::stop() {
  if (!running) return;
  running = false;
  context->draining = true;
  const auto each_connection = [](LoopState& state, void (Connection::*what)()) {
    std::vector<std::shared_ptr<Connection>> alive;  // closing one takes it out of the set
    for (Connection* connection : state.connections) alive.push_back(connection->shared_from_this());
    for (const auto& connection : alive) ((*connection).*what)();
  };
  on_each_loop([&](LoopState& state) {
    if (&state == loops.front().get()) acceptor->close();
  });
  on_each_loop([&](LoopState& state) { each_connection(state, &Connection::drain); });
  const auto deadline = std::chrono::steady_clock::now() + context->options.drain_deadline;
  while (context->counters.open.load() > 0 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(kDrainPoll);
  on_each_loop([&](LoopState& state) { each_connection(state, &Connection::close); });
  for (auto& state : loops) state->loop->stop();
  context->pool.stop();
  acceptor.reset();
}

Server::Server(ServerOptions options, std::vector<VirtualServer> virtual_servers)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(virtual_servers))) {}

Server::~Server() { stop(); }

void Server::on_request(Observer observer) { impl_->context->observer = std::move(observer); }
Status Server::start() { return impl_->start(); }
std::uint16_t Server::port() const { return impl_->port; }
void Server::stop() { impl_->stop(); }

ServerStatistics Server::statistics() const {
  const Counters& c = impl_->context->counters;
  ServerStatistics s;
  s.accepted = c.accepted;
  s.open_connections = c.open;
  s.idle_connections = c.idle;
  s.requests = c.requests;
  s.rejected = c.rejected;
  s.timeouts = c.timeouts;
  s.in_flight = c.in_flight;
  s.streams = c.streams;
  s.proxied = c.proxied;
  s.tunnels = c.tunnels;
  return s;
}

}  // namespace roost::http
