// Who Roost is to an API server: kubeconfigs, token files, exec programs. No cluster.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "compute/kubernetes/credentials.hpp"
#include "roost/plugin.hpp"

namespace roost::kubernetes {
namespace {

class KubernetesCredentials : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/roost-credentials-XXXXXX";
    directory_ = ::mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void write(const std::string& name, const std::string& text) const { std::ofstream(directory_ + "/" + name) << text; }
  [[nodiscard]] Settings kubeconfig(const std::string& user, const std::string& cluster = "server: https://10.0.0.1:6443") const {
    write("config",
          "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u, namespace: work}}]\nclusters: [{name: k, "
          "cluster: {" +
              cluster + "}}]\nusers: [{name: u, user: {" + user + "}}]\n");
    Settings settings;
    settings.kubeconfig = directory_ + "/config";
    return settings;
  }
  static std::string failure(const Settings& settings) {
    try {
      static_cast<void>(Credentials::load(settings)->identity());
      return "";
    } catch (const sdk::Failure& failure) {
      return failure.what();
    }
  }
  std::string directory_;
};

TEST_F(KubernetesCredentials, ReadsTokenCertificatesAndPlaces) {
  write("key.pem", "KEY");
  const auto made = Credentials::load(
      kubeconfig("token: abc, client-certificate-data: Q0VSVA==, client-key: key.pem",
                 "server: \"https://10.0.0.1:6443/\", certificate-authority-data: Q0E=, tls-server-name: kube.example.com"));
  EXPECT_EQ(made->cluster().url, "https://10.0.0.1:6443");
  EXPECT_EQ(made->cluster().ca_pem, "CA");
  EXPECT_EQ(made->cluster().server_name, "kube.example.com");
  EXPECT_EQ(made->cluster().name_space, "work");
  const Identity identity = made->identity();
  EXPECT_EQ(identity.token, "abc");
  EXPECT_EQ(identity.certificate_pem, "CERT");
  EXPECT_EQ(identity.key_pem, "KEY");
}

TEST_F(KubernetesCredentials, RefusesWhatIsNotSafeOrNotThere) {
  EXPECT_NE(failure(kubeconfig("token: a", "server: \"http://10.0.0.1\"")).find("https"), std::string::npos);
  EXPECT_NE(failure(kubeconfig("token: a", "server: \"https://x\", insecure-skip-tls-verify: true")).find("insecure"),
            std::string::npos);
  Settings other = kubeconfig("token: a");
  other.context = "missing";
  EXPECT_NE(failure(other).find("\"missing\""), std::string::npos);
  other.kubeconfig = directory_ + "/none";
  EXPECT_NE(failure(other).find("none"), std::string::npos);
  write("config", "a: [");
  EXPECT_NE(failure([&] {
              Settings broken;
              broken.kubeconfig = directory_ + "/config";
              return broken;
            }())
                .find("cannot be read"),
            std::string::npos);
}

TEST_F(KubernetesCredentials, ATokenFileIsReadAgainOnceRefusedAndAnUnreadableOneKeepsTheOld) {
  write("token", " first\n");
  const auto made = Credentials::load(kubeconfig("tokenFile: token"));
  EXPECT_EQ(made->identity().token, "first");
  write("token", "second\n");
  EXPECT_EQ(made->identity().token, "first") << "for a minute";
  made->rejected(0);
  EXPECT_EQ(made->identity().token, "second");
  std::filesystem::remove(directory_ + "/token");
  made->rejected(0);
  EXPECT_EQ(made->identity().token, "second");
}

TEST_F(KubernetesCredentials, RunsAnExecProgramAndKeepsItsAnswerWhileItLasts) {
  write(
      "login",
      "#!/bin/sh\necho run >>\"$LOG\"\necho \"$KUBERNETES_EXEC_INFO\" | grep -q ExecCredential || exit 3\n"
      "echo '{\"kind\":\"ExecCredential\",\"status\":{\"token\":\"'$1'\",\"expirationTimestamp\":\"2100-01-01T00:00:00Z\"}}'\n");
  std::filesystem::permissions(directory_ + "/login", std::filesystem::perms::owner_all);
  const auto made = Credentials::load(kubeconfig(
      "exec: {apiVersion: client.authentication.k8s.io/v1, command: ./login, args: [made], env: [{name: LOG, value: \"" +
      directory_ + "/log\"}]}"));
  EXPECT_EQ(made->identity().token, "made");
  EXPECT_EQ(made->identity().token, "made");
  EXPECT_EQ(std::filesystem::file_size(directory_ + "/log"), 4u) << "it ran once";
  made->rejected(0);
  EXPECT_EQ(made->identity().token, "made");
  EXPECT_EQ(std::filesystem::file_size(directory_ + "/log"), 8u);
}

// A process that was killed may wait for its new parent to reap it: it does not run any more.
bool runs(pid_t pid) {
  std::string word;
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  stat >> word >> word >> word;
  return stat && word != "Z";
}

TEST_F(KubernetesCredentials, AnExecProgramThatFailsOrHangsIsDenied) {
  EXPECT_NE(failure(kubeconfig("exec: {command: /bin/false}")).find("failed"), std::string::npos);
  EXPECT_NE(failure(kubeconfig("exec: {command: /no/such/program}")).find("cannot be started"), std::string::npos);
  ExecSource hanging;
  hanging.command = {"/bin/sleep", "600"};
  EXPECT_THROW(run_program(hanging, std::chrono::seconds(1)), sdk::Failure);
  ExecSource closing;  // it closes its output and goes on, with a child
  closing.command = {"/bin/sh", "-c", "exec >&-; sleep 600 & echo $! >" + directory_ + "/child; wait"};
  EXPECT_THROW(run_program(closing, std::chrono::seconds(1)), sdk::Failure);
  pid_t child = 0;
  ASSERT_TRUE(std::ifstream(directory_ + "/child") >> child);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);  // whoever inherits it reaps it when it can
  while (runs(child) && std::chrono::steady_clock::now() < until) ::usleep(10'000);
  EXPECT_FALSE(runs(child)) << "its child was left behind";
}

TEST_F(KubernetesCredentials, InAClusterTheServiceAccountIsUsed) {
  ::setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
  ::setenv("KUBERNETES_SERVICE_PORT", "443", 1);
  write("ca.crt", "CA");
  write("namespace", "roost\n");
  write("token", "pod-token");
  Settings settings;
  settings.service_account_dir = directory_;
  const auto made = Credentials::load(settings);
  EXPECT_EQ(made->cluster().url, "https://[fd00::1]:443");
  EXPECT_EQ(made->cluster().name_space, "roost");
  EXPECT_EQ(made->identity().token, "pod-token");
  ::unsetenv("KUBERNETES_SERVICE_HOST");
  EXPECT_NE(failure(settings).find("not in a cluster"), std::string::npos);
}

}  // namespace
}  // namespace roost::kubernetes
