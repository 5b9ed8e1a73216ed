# Makes every call that would change a file system, prints {call: errno name or "ok"} as JSON.
# Arguments: a folder with file f, empty folder e, folder d with a file x in it, symbolic link l to f.
# The Python runtime checks nothing here: each call goes to the kernel as it stands.
import ctypes
import errno
import json
import mmap
import os
import socket
import sys

root = sys.argv[1]
os.chdir(root)
libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_REMOVEDIR = 0x200
NR = {"x86_64": {"renameat2": 316, "copy_file_range": 326}, "aarch64": {"renameat2": 276, "copy_file_range": 285}}[
    os.uname().machine
]
FS_IOC_SETFLAGS = 0x40086602
results = {}


def note(name, call):
    try:
        value = call()
        if isinstance(value, int) and value == -1 and ctypes.get_errno():
            results[name] = errno.errorcode[ctypes.get_errno()]
        else:
            results[name] = "ok"
    except OSError as error:
        results[name] = errno.errorcode[error.errno]


def c(function, *args):
    def call():
        ctypes.set_errno(0)
        return getattr(libc, function)(*args)

    return call


def opening(flags, name=b"f"):
    return lambda: os.close(os.open(name, flags, 0o644))


reader = os.open("f", os.O_RDONLY)
folder = os.open("d", os.O_RDONLY | os.O_DIRECTORY)
times = (ctypes.c_long * 4)(1, 0, 1, 0)

note("open O_WRONLY", opening(os.O_WRONLY))
note("open O_RDWR", opening(os.O_RDWR))
note("open O_WRONLY|O_APPEND", opening(os.O_WRONLY | os.O_APPEND))
note("open O_WRONLY|O_TRUNC", opening(os.O_WRONLY | os.O_TRUNC))
note("open O_RDONLY|O_TRUNC", opening(os.O_RDONLY | os.O_TRUNC))
note("open O_CREAT", opening(os.O_WRONLY | os.O_CREAT, b"new"))
note("open O_CREAT|O_EXCL", opening(os.O_RDONLY | os.O_CREAT | os.O_EXCL, b"new"))
note("open O_CREAT|O_EXCL existing", opening(os.O_RDONLY | os.O_CREAT | os.O_EXCL, b"f"))
note("open O_TMPFILE", opening(os.O_RDWR | os.O_TMPFILE, b"d"))
note("creat", c("creat", b"new", 0o644))
note("unlink", c("unlink", b"f"))
note("unlink symlink", c("unlink", b"l"))
note("unlinkat", c("unlinkat", folder, b"x", 0))
note("unlinkat AT_REMOVEDIR", c("unlinkat", AT_FDCWD, b"e", AT_REMOVEDIR))
note("rmdir", c("rmdir", b"e"))
note("rmdir not empty", c("rmdir", b"d"))
note("mkdir", c("mkdir", b"new", 0o755))
note("mkdirat", c("mkdirat", folder, b"new", 0o755))
note("mknod file", c("mknod", b"new", 0o100644, 0))
note("mknod fifo", c("mknod", b"new", 0o010644, 0))
note("mknod device", c("mknod", b"new", 0o020644, 0x103))
note("mkfifo", c("mkfifo", b"new", 0o644))
note("bind", lambda: socket.socket(socket.AF_UNIX).bind("new"))
note("link", c("link", b"f", b"new"))
note("linkat", c("linkat", AT_FDCWD, b"f", folder, b"new", 0))
note("symlink", c("symlink", b"f", b"new"))
note("symlinkat", c("symlinkat", b"f", folder, b"new"))
note("rename", c("rename", b"f", b"new"))
note("rename over", c("rename", b"f", b"d/x"))
note("rename folder", c("rename", b"d", b"new"))
for flag, value in {"RENAME_NOREPLACE": 1, "RENAME_EXCHANGE": 2, "RENAME_WHITEOUT": 4}.items():
    to = b"d/x" if value == 2 else b"new"
    note("renameat2 " + flag, c("syscall", NR["renameat2"], AT_FDCWD, b"f", AT_FDCWD, to, value))
note("truncate", c("truncate", b"f", 0))
note("ftruncate of a reader", c("ftruncate", reader, 0))
note("fallocate of a reader", c("fallocate", reader, 0, ctypes.c_long(0), ctypes.c_long(1)))
note("write of a reader", c("write", reader, b"x", 1))
note("copy_file_range to a reader", c("syscall", NR["copy_file_range"], reader, None, reader, None, 1, 0))
note("chmod", c("chmod", b"f", 0o600))
note("fchmod", c("fchmod", reader, 0o600))
note("fchmodat", c("fchmodat", folder, b"x", 0o600, 0))
note("chown", c("chown", b"f", 1, 1))
note("lchown", c("lchown", b"l", 1, 1))
note("fchown", c("fchown", reader, 1, 1))
note("fchownat", c("fchownat", folder, b"x", 1, 1, 0))
note("utime", c("utime", b"f", None))
note("utimes", c("utimes", b"f", None))
note("utimensat", c("utimensat", AT_FDCWD, b"f", times, 0))
note("utimensat symlink", c("utimensat", AT_FDCWD, b"l", times, AT_SYMLINK_NOFOLLOW))
note("futimens", c("futimens", reader, times))
note("setxattr", c("setxattr", b"f", b"user.new", b"v", 1, 0))
note("lsetxattr", c("lsetxattr", b"l", b"trusted.new", b"v", 1, 0))
note("fsetxattr", c("fsetxattr", reader, b"user.new", b"v", 1, 0))
note("removexattr", c("removexattr", b"f", b"user.a"))
note("lremovexattr", c("lremovexattr", b"l", b"trusted.a"))
note("fremovexattr", c("fremovexattr", reader, b"user.a"))
note("access W_OK", c("access", b"f", os.W_OK))
note("access W_OK folder", c("access", b"d", os.W_OK))
note("faccessat W_OK", c("faccessat", folder, b"x", os.W_OK, 0))
note("access R_OK", c("access", b"f", os.R_OK))
note("mmap shared writable", lambda: mmap.mmap(reader, 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE))
note("mmap private writable", lambda: mmap.mmap(reader, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE))
note("ioctl FS_IOC_SETFLAGS", c("ioctl", reader, FS_IOC_SETFLAGS, ctypes.byref(ctypes.c_int(0))))
print(json.dumps(results))
