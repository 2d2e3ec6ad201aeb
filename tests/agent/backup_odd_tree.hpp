// A tree with everything that has ever troubled a backup.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "agent/backup_archives.hpp"

namespace roost::agent {

inline void set_mtime(const std::string& path, std::int64_t seconds, long nanoseconds) {
  const timespec times[2] = {{0, UTIME_OMIT}, {seconds, nanoseconds}};
  EXPECT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
}

// Files whose names are common to every tool.
inline void make_plain_tree(const std::string& root) {
  namespace fs = std::filesystem;
  fs::create_directories(root + "/sizes");
  write_text(root + "/sizes/empty", "");
  write_text(root + "/sizes/one", "x");
  write_text(root + "/sizes/small-limit", noise(1 << 20));
  write_text(root + "/sizes/beyond-small-limit", noise((1 << 20) + 1));
  write_text(root + "/sizes/incompressible", noise(3'000'001));
  std::string text;
  while (text.size() < 2'500'000) text += "compressible text " + std::to_string(text.size()) + "\n";
  write_text(root + "/sizes/compressible", text);
  // Looks like ZIP records inside: a stream reader must not stumble.
  write_text(root + "/sizes/zip-in-zip",
             noise(100) + "PK\x07\x08" + noise(50) + "PK\x03\x04" + noise(1'500'000) + "PK\x01\x02PK\x05\x06");
  std::string sparse(20 << 20, '\0');
  sparse.replace((20 << 20) - 3, 3, "end");
  write_text(root + "/sizes/sparse", sparse);
  fs::create_directories(root + "/dirs/empty");
  fs::create_directories(root + "/dirs/a/b/c/d/e/f/g");
  write_text(root + "/dirs/a/b/c/d/e/f/g/bottom", "x");
  fs::create_directories(root + "/links");
  write_text(root + "/links/target", "x");
  fs::create_symlink("target", root + "/links/relative");
  fs::create_symlink("nowhere/at/all", root + "/links/dangling");
  fs::create_symlink("/etc/passwd", root + "/links/absolute");
  fs::create_symlink("../..", root + "/links/upwards");
  fs::create_symlink("loop", root + "/links/loop");
  fs::create_symlink("../dirs", root + "/links/directory");
  fs::create_hard_link(root + "/links/target", root + "/links/hard");
  write_text(root + "/\xc3\xa9\xc3\xbc \xe2\x82\xac \xf0\x9f\x90\x93", "UTF-8");
}

inline void make_odd_tree(const std::string& root) {
  namespace fs = std::filesystem;
  make_plain_tree(root);
  fs::create_directories(root + "/names");
  for (const std::string& name :
       {std::string("bad\xff\xfe"), std::string("new\nline"), std::string("tab\tbell\adel\x7f"),
        std::string("quote\"back\\slash'"), std::string("-rf"), std::string(" "), std::string("..."), std::string("C:\\x"),
        std::string("e\xcc\x81"), std::string("\xc3\xa9"), std::string(255, 'n'), std::string("\xed\xa0\x80"),
        std::string("*?[$`"), std::string("CON"), std::string("trailing.")}) {
    write_text(root + "/names/" + name, name);
  }
  fs::create_directories(root + "/names/dir\xff\n");
  write_text(root + "/names/dir\xff\n/inside", "x");
  fs::create_symlink("to\xff\nnowhere", root + "/names/link\xfe");
  write_text(root + "/.roost-manifest.jsonl", "not the manifest");
  write_text(root + "/.roost-manifest-1.jsonl", "nor this");
  fs::create_directories(root + "/special");
  EXPECT_EQ(::mkfifo((root + "/special/fifo").c_str(), 0600), 0);
  EXPECT_EQ(::mknod((root + "/special/socket-1").c_str(), S_IFSOCK | 0600, 0), 0);
  EXPECT_EQ(::mknod((root + "/special/socket-1x").c_str(), S_IFSOCK | 0600, 0), 0);
  fs::create_directories(root + "/modes/read-only");
  for (const auto& [name, mode] : std::vector<std::pair<std::string, mode_t>>{
           {"setuid", 04755}, {"setgid", 02755}, {"all", 0777}, {"nobody-writes", 0444}}) {
    write_text(root + "/modes/" + name, name);
    EXPECT_EQ(::chmod((root + "/modes/" + name).c_str(), mode), 0);
  }
  write_text(root + "/modes/read-only/file", "x");
  if (::geteuid() == 0) {  // who is not root could not read it
    write_text(root + "/modes/none", "x");
    EXPECT_EQ(::chmod((root + "/modes/none").c_str(), 0), 0);
  }
  fs::create_directories(root + "/modes/sticky");
  EXPECT_EQ(::chmod((root + "/modes/sticky").c_str(), 01777), 0);
  EXPECT_EQ(::chmod((root + "/modes/read-only").c_str(), 0555), 0);
  fs::create_directories(root + "/times/old-dir");
  for (const char* name : {"before-1970", "after-2038", "exact"}) write_text(root + "/times/" + name, name);
  fs::create_symlink("x", root + "/times/link");
  set_mtime(root + "/times/before-1970", -123456789, 987654321);
  set_mtime(root + "/times/after-2038", 4'000'000'000, 1);
  set_mtime(root + "/times/exact", 1'600'000'001, 0);
  set_mtime(root + "/times/link", 1'500'000'000, 5);
  set_mtime(root + "/times/old-dir", 1'000'000'000, 7);
}

// In a tree that root owns, restored programs lose setuid and setgid on purpose.
inline void drop_setuid_for_root(std::map<std::string, std::string>& tree) {
  if (::geteuid() != 0) return;
  for (const auto& [from, to] :
       std::vector<std::pair<std::string, std::string>>{{" 104755 ", " 100755 "}, {" 102755 ", " 100755 "}}) {
    for (auto& [path, text] : tree) {
      if (const std::size_t at = text.find(from); at != std::string::npos && path.substr(0, 6) == "modes/")
        text.replace(at, from.size(), to);
    }
  }
}

}  // namespace roost::agent
