/* Starts the agent of a bundle in an image that has none of its libraries: a static program that hands over to the bundle's own
 * dynamic loader. Its directory holds lib/ld.so, the libraries in lib/, and lib/roost-agent (cmake/agent_bundle.cmake). */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAX_PATH 4096
#define MAX_ARGUMENTS 1024

static int say(const char* what, const char* why) {
  fprintf(stderr, "roost-agent: %s: %s\n", what, why);
  return 127;
}

int main(int argc, char** argv) {
  char loader[MAX_PATH + 16], libraries[MAX_PATH + 16], program[MAX_PATH + 16], directory[MAX_PATH];
  char* arguments[MAX_ARGUMENTS + 8] = {loader, "--library-path", libraries, "--argv0", argv[0], program};
  const ssize_t length = readlink("/proc/self/exe", directory, sizeof directory - 1);
  if (length <= 0) return say("/proc/self/exe", strerror(errno));
  directory[length] = 0;
  *strrchr(directory, '/') = 0;
  if (argc < 1 || argc > MAX_ARGUMENTS) return say("arguments", strerror(E2BIG));
  snprintf(loader, sizeof loader, "%s/lib/ld.so", directory);
  snprintf(libraries, sizeof libraries, "%s/lib", directory);
  snprintf(program, sizeof program, "%s/lib/roost-agent", directory);
  memcpy(arguments + 6, argv + 1, (size_t)argc * sizeof *argv); /* with the NULL at its end */
  execv(loader, arguments);
  return say(loader, strerror(errno));
}
