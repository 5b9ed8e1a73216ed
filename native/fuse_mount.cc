#include "fuse_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

namespace peel::fuse {
namespace {

constexpr size_t kMostMessage = 4096;

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  ~Fd() { Reset(-1); }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }
  void Reset(int fd) {
    if (fd_ >= 0) close(fd_);
    fd_ = fd;
  }
  int Release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_;
};

Mounted Failed(int error, std::string message = "") {
  return {-1, error, std::move(message)};
}

// The descriptor in one message of the socket, -1 for none.
int ReceiveDescriptor(int socket) {
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t count = 0;
  do {
    count = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (count < 0 && errno == EINTR);
  if (count <= 0) return -1;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
      header->cmsg_len != CMSG_LEN(sizeof(int))) {
    return -1;
  }
  int fd = -1;
  memcpy(&fd, CMSG_DATA(header), sizeof(fd));
  return fd;
}

// The program with `socket` as descriptor 3 and `errors` as 2, and nothing else of ours. 0, or an errno.
int Spawn(const std::string& program, const std::string& path, const std::string& options, int socket, int errors,
          pid_t* pid) {
  std::string words[] = {program, "-o", options, "--", path};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(), words[4].data(), nullptr};
  char channel[] = "_FUSE_COMMFD=3";
  char* environment[] = {channel, nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, errors, 2);
  posix_spawn_file_actions_adddup2(&actions, socket, 3);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  const int error = posix_spawn(pid, program.c_str(), &actions, &attributes, arguments, environment);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  return error;
}

// Above the numbers that the child's own descriptors take, so that none of ours is overwritten before it is copied.
int MoveUp(int fd) {
  const int moved = fcntl(fd, F_DUPFD_CLOEXEC, 10);
  close(fd);
  return moved;
}

}  // namespace

Mounted MountDirectly(const std::string& path, const std::string& source, unsigned long flags,
                      const std::string& options) {
  Fd device(open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (device.get() < 0) return Failed(errno);
  // rootmode: a directory; that is all that the kernel takes of it before it asks.
  std::string data = "fd=" + std::to_string(device.get()) + ",rootmode=40000,user_id=" + std::to_string(geteuid()) +
                     ",group_id=" + std::to_string(getegid());
  if (!options.empty()) data += "," + options;
  if (mount(source.c_str(), path.c_str(), "fuse.peel", flags, data.c_str()) != 0) return Failed(errno);
  return {device.Release(), 0, ""};
}

Mounted MountThroughHelper(const std::string& program, const std::string& path, const std::string& options,
                           int limit_ms) {
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) return Failed(errno);
  Fd ours(sockets[0]);
  Fd theirs(MoveUp(sockets[1]));
  int pipes[2];
  if (pipe2(pipes, O_CLOEXEC) != 0) return Failed(errno);
  Fd said(pipes[0]);
  Fd errors(MoveUp(pipes[1]));
  pid_t pid = 0;
  const int error = Spawn(program, path, options, theirs.get(), errors.get(), &pid);
  theirs.Reset(-1);
  errors.Reset(-1);
  if (error != 0) return Failed(error);

  Mounted mounted;
  pollfd waiting{ours.get(), POLLIN, 0};
  int ready = 0;
  do {
    ready = poll(&waiting, 1, limit_ms);
  } while (ready < 0 && errno == EINTR);
  if (ready > 0) {
    mounted.fd = ReceiveDescriptor(ours.get());
  } else {
    kill(pid, SIGKILL);
    mounted.error = ETIMEDOUT;
  }
  // It ends by itself: with its socket answered or closed there is nothing more that it waits for.
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (mounted.fd >= 0) return mounted;
  char text[kMostMessage];
  const ssize_t length = read(said.get(), text, sizeof(text));
  if (length > 0) mounted.message.assign(text, static_cast<size_t>(length));
  if (mounted.error == 0) mounted.error = EIO;
  return mounted;
}

}  // namespace peel::fuse
