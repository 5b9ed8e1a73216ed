// Opens files that peel keeps for itself, with the care of src/storage/own-file.ts: a link, a FIFO or a file of another
// user in the place of one of ours is not followed, waited for or read.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

namespace peel {

// For reading; -1 where something else is in its place. The caller closes it.
inline int OpenOwnFile(const std::string& path, struct stat* stats) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return -1;
  if (fstat(fd, stats) == 0 && S_ISREG(stats->st_mode) && stats->st_uid == geteuid() && stats->st_nlink == 1) return fd;
  close(fd);
  return -1;
}

}  // namespace peel
