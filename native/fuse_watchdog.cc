#include "fuse_watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace peel::fuse {

int Watchdog::Start(const std::string& program, uint32_t connection, uint64_t limit_ms, bool releases) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return errno;
  fcntl(ends[1], F_SETFL, O_NONBLOCK);
  std::string words[] = {program, std::to_string(connection), std::to_string(limit_ms), "release"};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), releases ? words[3].data() : nullptr,
                       nullptr};
  char* environment[] = {nullptr};

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&actions, ends[0], 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  // A session of its own: what stops the server (a terminal, a group) does not stop it.
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, program.c_str(), &actions, &attributes, arguments, environment);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  close(ends[0]);
  if (error != 0) {
    close(ends[1]);
    return error;
  }
  heartbeat_ = ends[1];
  pid_ = pid;
  limit_ms_ = limit_ms;
  return 0;
}

bool Watchdog::Tell(int* status) {
  if (write(heartbeat_, "", 1) >= 0 || errno != EPIPE) return true;
  close(heartbeat_);
  heartbeat_ = -1;
  int waited = 0;
  waitpid(pid_, &waited, 0);
  pid_ = 0;
  *status = WIFEXITED(waited) ? WEXITSTATUS(waited) : 0;
  return false;
}

void Watchdog::End() {
  if (heartbeat_ >= 0) close(heartbeat_);
  heartbeat_ = -1;
  if (pid_ > 0) {
    // It would end with its pipe, but not while somebody has stopped it.
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  pid_ = 0;
}

}  // namespace peel::fuse
