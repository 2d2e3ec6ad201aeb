#include "store/redis/socket.hpp"

#include <Poco/Crypto/X509Certificate.h>
#include <Poco/Net/NetException.h>
#include <Poco/Net/SSLManager.h>
#include <Poco/Net/StreamSocketImpl.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <system_error>
#include <vector>

#include "store/redis/resolve.hpp"

namespace roost::store_redis {
namespace {

using Poco::Net::SecureStreamSocket;
using Poco::Net::SocketAddress;

std::string errno_text(int error) { return std::generic_category().message(error); }

class Adopter : public Poco::Net::StreamSocket {
 public:
  explicit Adopter(int descriptor) : StreamSocket(new Poco::Net::StreamSocketImpl(descriptor)) {}
};

std::vector<SocketAddress> places(const Address& address, const Until& until) {
  std::vector<SocketAddress> out;
  if (address.host.empty())
    out.emplace_back(Poco::Net::AddressFamily::UNIX_LOCAL, address.path);
  else
    for (const auto& ip : resolve(address.host, until)) out.emplace_back(ip, address.port);
  return out;
}

// Not inheritable from the first moment on: workspaces are started by this process.
int connecting(const SocketAddress& to) {
  const int fd = ::socket(to.af(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) throw ConnectionLost("no socket: " + errno_text(errno));
  if (to.af() != AF_UNIX) {
    const int one = 1;
    (void)::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
  }
  if (::connect(fd, to.addr(), to.length()) == 0 || errno == EINPROGRESS || errno == EAGAIN) return fd;
  const int error = errno;
  ::close(fd);
  throw ConnectionLost(errno_text(error));
}

bool has_name(const Poco::Crypto::X509Certificate& certificate, const std::string& name) {
  X509* const x509 = const_cast<X509*>(certificate.certificate());
  return ::X509_check_host(x509, name.c_str(), name.size(), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, nullptr) == 1 ||
         ::X509_check_ip_asc(x509, name.c_str(), 0) == 1;
}

}  // namespace

Poco::Net::Context::Ptr make_tls_context(const Tls& tls) {
  if (!tls.on) return {};
  for (const std::string* file : {&tls.ca_file, &tls.certificate_file, &tls.key_file}) {
    if (!file->empty() && ::access(file->c_str(), R_OK) != 0)
      throw sdk::Failure(ROOST_INVALID, "store-redis: tls: " + *file + ": " + errno_text(errno));
  }
  try {
    Poco::Net::Context::Params params;
    params.privateKeyFile = tls.key_file;
    params.certificateFile = tls.certificate_file;
    params.caLocation = tls.ca_file;
    params.loadDefaultCAs = tls.ca_file.empty();
    params.verificationMode = Poco::Net::Context::VERIFY_STRICT;
    params.cipherList = "HIGH:!aNULL:!eNULL";
    Poco::Net::Context::Ptr context(new Poco::Net::Context(Poco::Net::Context::TLS_CLIENT_USE, params));
    context->requireMinimumProtocol(Poco::Net::Context::PROTO_TLSV1_2);
    return context;
  } catch (const Poco::Exception& e) {
    throw sdk::Failure(ROOST_INVALID, "store-redis: tls: " + e.displayText());
  }
}

Socket::Socket(const Address& address, const Tls& tls, const Poco::Net::Context::Ptr& context, const Until& until) {
  try {
    connect_to(address, until);
    if (!context.isNull()) shake_hands(tls.server_name.empty() ? address.host : tls.server_name, context, until);
  } catch (const Poco::Exception& e) {
    throw ConnectionLost("cannot connect to " + address.text() + ": " + e.displayText());
  } catch (const ConnectionLost& e) {
    throw ConnectionLost("cannot connect to " + address.text() + ": " + e.what());
  }
}

Socket::~Socket() {
  try {
    socket_.close();
  } catch (...) {  // closing a broken TLS session may complain
  }
}

void Socket::connect_to(const Address& address, const Until& until) {
  std::string why;
  for (const SocketAddress& to : places(address, until)) {
    try {
      const int fd = connecting(to);
      socket_ = Adopter(fd);
      fd_ = fd;
      socket_.setBlocking(false);
      await(POLLOUT, "connecting", until);
      int error = 0;
      socklen_t size = sizeof error;
      if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
      if (error == 0) return;
      why = errno_text(error);
    } catch (const ConnectionLost& e) {
      why = e.what();
    }
  }
  throw ConnectionLost(why);
}

void Socket::shake_hands(const std::string& name, const Poco::Net::Context::Ptr& context, const Until& until) {
  try {
    SecureStreamSocket secure = SecureStreamSocket::attach(socket_, name, context);
    socket_ = secure;
    for (;;) {
      const int result = secure.completeHandshake();
      if (result == SecureStreamSocket::ERR_SSL_WANT_READ)
        await(POLLIN, "the TLS handshake", until);
      else if (result == SecureStreamSocket::ERR_SSL_WANT_WRITE)
        await(POLLOUT, "the TLS handshake", until);
      else
        break;
    }
    if (!has_name(secure.peerCertificate(), name))
      throw ConnectionLost("its certificate is not for the name \"" + name + "\": check store.config.tls.server_name");
  } catch (const Poco::Exception& e) {
    throw ConnectionLost("TLS: " + e.displayText() + ": check store.config.tls.ca_file and the server's certificate");
  }
}

void Socket::await(short events, const char* what, const Until& until) const {
  if (until.wait(fd_, events) == 0) throw ConnectionLost(std::string("no answer in time (") + what + ")");
}

void Socket::send(std::string_view bytes, const Until& until) {
  try {
    while (!bytes.empty()) {
      const int size = static_cast<int>(std::min<std::size_t>(bytes.size(), std::size_t{1} << 20));
      const int sent = socket_.sendBytes(bytes.data(), size, MSG_NOSIGNAL);
      if (sent > 0)
        bytes.remove_prefix(static_cast<std::size_t>(sent));
      else
        await(sent == SecureStreamSocket::ERR_SSL_WANT_READ && socket_.secure() ? POLLIN : POLLOUT, "sending", until);
    }
  } catch (const Poco::Exception& e) {
    throw ConnectionLost(e.displayText());
  }
}

std::size_t Socket::receive(char* buffer, std::size_t size, const Until& until) {
  try {
    for (;;) {
      const int got = socket_.receiveBytes(buffer, static_cast<int>(size));
      if (got > 0) return static_cast<std::size_t>(got);
      if (got == 0) throw ConnectionLost("the server closed the connection");
      await(got == SecureStreamSocket::ERR_SSL_WANT_WRITE && socket_.secure() ? POLLOUT : POLLIN, "waiting for the answer",
            until);
    }
  } catch (const Poco::Exception& e) {
    throw ConnectionLost(e.displayText());
  }
}

bool Socket::quiet() const {
  pollfd fd{fd_, POLLIN | POLLRDHUP, 0};
  return ::poll(&fd, 1, 0) == 0;
}

}  // namespace roost::store_redis
