// Writes to a store from several threads and says on stdout what was acknowledged, a line each, until it is killed.
// store_suite_writer PLUGIN DIRECTORY ROUND. Each commit puts one document, moves a pair of documents together and appends.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

#include "plugins/store/driver.hpp"

using namespace roost::store_suite;

int main(int argc, char** argv) {
  const Quirks* quirks = argc == 4 ? find_store(argv[1]) : nullptr;
  if (!quirks) return 2;
  StoreDriver store(*quirks, argv[2]);
  if (!store.opened().ok()) {
    std::fprintf(stderr, "%s\n", store.opened().error().message.c_str());
    return 3;
  }
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int n = 0;; ++n) {
        const std::string key = std::string(argv[3]) + "-" + std::to_string(t) + "-" + std::to_string(n);
        const std::string pair = "pair" + std::to_string(t);
        const auto made =
            store.commit("p", {}, {put("doc/" + key, key), put(pair + "/a", key), append("log/", key), put(pair + "/b", key)});
        if (!made.ok()) std::_Exit(4);
        const std::string line = key + " " + (*made)[2].key + " " + std::to_string((*made)[0].revision) + "\n";
        if (::write(1, line.data(), line.size()) != static_cast<ssize_t>(line.size())) std::_Exit(5);  // one write, one line
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}
