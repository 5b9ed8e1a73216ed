// The watchdog of a mount: a program of its own that survives what stops the server. It reads signs of life from
// standard input; when none comes for too long it aborts the FUSE connection, so that every reader that hangs in the
// mount is freed (the kernel then answers ECONNABORTED, later ENOTCONN). End of input: the server has gone, and
// with it the connection.
//
//   peel-watchdog CONNECTION MILLISECONDS [release]
//
// release: readers are freed only when the server lets go of their requests, as over io_uring: the kernel has assigned
// them to a thread of it, which has to run once more. So a stopped server is told to go on, and one that does not is
// killed.
//
// CONNECTION is the number of the folder in /sys/fs/fuse/connections. Where that file system is not mounted it is
// opened without a place (fsmount(2), which takes root). Exit: 0 input ended, 1 aborted, 2 cannot abort.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

// Numbers of <linux/mount.h>, which older headers lack.
constexpr unsigned kFsopenCloexec = 1;
constexpr unsigned kFsmountCloexec = 1;
constexpr unsigned kConfigCreate = 6;

// Silence is waited through in so many steps. A frozen process (cgroup freezer, SIGSTOP of the whole session, CRIU)
// finds its time-outs expired when it goes on, before a server frozen with it can give a sign: that is one step.
constexpr unsigned long kSteps = 8;

constexpr int kGraceMs = 2000;

int OpenUnplaced(const char* name, int flags) {
  const long context = syscall(SYS_fsopen, "fusectl", kFsopenCloexec);
  if (context < 0) return -1;
  int file = -1;
  if (syscall(SYS_fsconfig, context, kConfigCreate, nullptr, nullptr, 0) == 0) {
    const long root = syscall(SYS_fsmount, context, kFsmountCloexec, 0);
    if (root >= 0) {
      file = openat(static_cast<int>(root), name, flags | O_CLOEXEC);
      close(static_cast<int>(root));
    }
  }
  close(static_cast<int>(context));
  return file;
}

// A file of the connection's folder, wherever that is.
int OpenControl(unsigned long connection, const char* name, int flags) {
  char path[64];
  snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%lu/%s", connection, name);
  const int file = open(path, flags | O_CLOEXEC);
  if (file >= 0) return file;
  snprintf(path, sizeof(path), "%lu/%s", connection, name);
  return OpenUnplaced(path, flags);
}

// Waits until nobody waits in the mount any more; false where somebody does for too long.
bool AreFree(int waiting_file) {
  for (int waited = 0; waited < kGraceMs; waited += 20) {
    char count[32] = {};
    if (pread(waiting_file, count, sizeof(count) - 1, 0) <= 0 || strtoul(count, nullptr, 10) == 0) return true;
    poll(nullptr, 0, 20);
  }
  return false;
}

void Signal(int process, int signal) {
  syscall(SYS_pidfd_send_signal, process, signal, nullptr, 0);
}

}  // namespace

int main(int count, char** words) {
  const bool releases = count == 4 && strcmp(words[3], "release") == 0;
  if (count != 3 && !releases) return 2;
  const unsigned long connection = strtoul(words[1], nullptr, 10);
  const unsigned long limit = strtoul(words[2], nullptr, 10);
  if (connection == 0 || limit == 0 || limit > 24ul * 3600 * 1000) return 2;
  // Whatever else was inherited: an open file of the mount, or /dev/fuse itself, would keep it alive.
  syscall(SYS_close_range, 3u, ~0u, 0u);
  if (chdir("/") != 0) return 2;
  const int server = static_cast<int>(syscall(SYS_pidfd_open, getppid(), 0));
  const int abort_file = OpenControl(connection, "abort", O_WRONLY);
  const int waiting_file = OpenControl(connection, "waiting", O_RDONLY);
  if (abort_file < 0 || (releases && (waiting_file < 0 || server < 0))) return 2;
  const int step_ms = static_cast<int>((limit + kSteps - 1) / kSteps);
  for (unsigned long silent = 0; silent < kSteps;) {
    pollfd input{0, POLLIN, 0};
    const int ready = poll(&input, 1, step_ms);
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) break;
    if (ready == 0) {
      ++silent;
      continue;
    }
    char signs[256];
    const ssize_t length = read(0, signs, sizeof(signs));
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) return 0;
    silent = 0;
  }
  if (write(abort_file, "1", 1) != 1) return 2;
  if (releases) {
    Signal(server, SIGCONT);
    if (!AreFree(waiting_file)) Signal(server, SIGKILL);
  }
  return 1;
}
