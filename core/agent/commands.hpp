// The subcommands of roost-agent. Each takes the arguments after its own name and answers the process's exit code.
// Thread safety: called once, on the main thread.
#pragma once

namespace roost::agent {

enum class TaskKind { backup, verify, restore };

// Supervises one workspace: `--spec FILE [--foreground]`. Without --foreground it returns in the calling process as soon as the
// supervisor holds the workspace's lock and its control socket answers (0), or with a line on standard error why it does not.
int serve(int argc, char** argv);

// The same as the first process of a workspace's container: `--pod DIRECTORY [--run DIRECTORY] [--listen HOST:PORT]
// [-- COMMAND…]`. It ends when it is told to (SIGTERM), or where its program keeps failing (1).
int serve_pod(int argc, char** argv);

// Supervises one task: `--spec FILE`; the same hand-over as serve. It runs `roost-agent backup|verify|restore …` in a sandbox.
int supervise_task(int argc, char** argv);

// Does a task: `--spec FILE --result FILE --progress FILE [--print-progress SECONDS]`. 0 iff the state in the result file is
// succeeded.
int run_task(TaskKind kind, int argc, char** argv);

// Inside a workspace: `[--once] [--visibility SECONDS] -- COMMAND…` for each chat message; SIGTERM ends it. --once: one message,
// 0 iff it was answered.
int chat(int argc, char** argv);

}  // namespace roost::agent
