"""
Lists tars as Python's tarfile, libarchive (which is bsdtar's reader) and GNU tar read them: on standard input each with
its length in front (4 bytes, big-endian), on standard output a line of JSON for each: by reader, its entries, or null
where it refuses. Names and targets are bytes, in base64.
"""
import base64
import ctypes
import ctypes.util
import io
import json
import locale
import os
import re
import struct
import subprocess
import sys
import tarfile

GNU_TAR = ["tar", "--list", "--verbose", "--full-time", "--numeric-owner", "--quoting-style=c", "--file=-"]
DEADLINE_S = 20


def base64_of(data):
    return base64.b64encode(data).decode()


def entry(name, kind, mode, size, sec, target):
    return {
        "name": base64_of(name),
        "type": kind,
        "mode": mode & 0o7777,
        "size": size if kind == "file" else 0,
        "sec": sec,
        "target": base64_of(target) if kind in ("symlink", "hardlink") else None,
    }


# Python

KIND_OF_FLAG = {
    tarfile.LNKTYPE: "hardlink",
    tarfile.SYMTYPE: "symlink",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.DIRTYPE: "dir",
    tarfile.FIFOTYPE: "fifo",
}


def raw(text):
    return text.encode("utf-8", "surrogateescape")


def list_python(data):
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
            return [
                entry(
                    raw(member.name),
                    KIND_OF_FLAG.get(member.type, "file"),
                    member.mode,
                    member.size,
                    int(member.mtime // 1),
                    raw(member.linkname),
                )
                for member in archive
            ]
    except Exception:  # Whatever it stumbles over: it does not read the tar.
        return None


# libarchive

LIBARCHIVE = ctypes.CDLL(ctypes.util.find_library("archive") or "libarchive.so.13")
KIND_OF_MODE = {
    0o100000: "file",
    0o120000: "symlink",
    0o020000: "char",
    0o060000: "block",
    0o040000: "dir",
    0o010000: "fifo",
}
OK, EOF = 0, 1
for function, result in {
    "archive_read_new": ctypes.c_void_p,
    "archive_entry_pathname": ctypes.c_char_p,
    "archive_entry_symlink": ctypes.c_char_p,
    "archive_entry_hardlink": ctypes.c_char_p,
    "archive_entry_size": ctypes.c_int64,
    "archive_entry_mtime": ctypes.c_int64,
    "archive_entry_perm": ctypes.c_uint,
    "archive_entry_filetype": ctypes.c_uint,
}.items():
    getattr(LIBARCHIVE, function).restype = result


def list_libarchive(data):
    archive = ctypes.c_void_p(LIBARCHIVE.archive_read_new())
    try:
        LIBARCHIVE.archive_read_support_format_tar(archive)
        LIBARCHIVE.archive_read_support_format_empty(archive)
        if LIBARCHIVE.archive_read_open_memory(archive, data, ctypes.c_size_t(len(data))) != OK:
            return None
        entries = []
        while True:
            header = ctypes.c_void_p()
            status = LIBARCHIVE.archive_read_next_header(archive, ctypes.byref(header))
            if status == EOF:
                return entries
            if status != OK:
                return None
            entries.append(libarchive_entry(header))
    finally:
        LIBARCHIVE.archive_read_free(archive)


def libarchive_entry(header):
    hardlink = LIBARCHIVE.archive_entry_hardlink(header)
    symlink = LIBARCHIVE.archive_entry_symlink(header)
    kind = "hardlink" if hardlink is not None else KIND_OF_MODE.get(LIBARCHIVE.archive_entry_filetype(header), "none")
    return entry(
        LIBARCHIVE.archive_entry_pathname(header) or b"",
        kind,
        LIBARCHIVE.archive_entry_perm(header),
        LIBARCHIVE.archive_entry_size(header),
        LIBARCHIVE.archive_entry_mtime(header),
        hardlink or symlink or b"",
    )


# GNU tar

KIND_OF_LETTER = {"-": "file", "h": "hardlink", "l": "symlink", "c": "char", "b": "block", "d": "dir", "p": "fifo", "C": "file"}
QUOTED = rb'"((?:[^"\\]|\\.)*)"'
LINE = re.compile(
    rb"^(\S)(\S{9})\S? +\S+ +(\S+) (-?\d+-\d\d-\d\d \d\d:\d\d:\d\d|-?\d+)(?:\.\d+)? +"
    + QUOTED
    + rb"(?: (?:->|link to) "
    + QUOTED
    + rb"| unknown file type .*)?$"
)
BITS = [0o400, 0o200, 0o100, 0o040, 0o020, 0o010, 0o004, 0o002, 0o001]
SPECIAL = {2: 0o4000, 5: 0o2000, 8: 0o1000}
ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.S)
LETTERS = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def unquoted(text):
    def one(match):
        code = match.group(1)
        return bytes([int(code, 8)]) if len(code) == 3 else LETTERS.get(code, code)

    return ESCAPE.sub(one, text)


def seconds_of(time):
    """Of a date in any year, by the rules of the Gregorian calendar; or of a number of seconds."""
    parts = re.fullmatch(r"(-?\d+)-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)", time)
    if parts is None:
        return int(time)
    year, month, day, hour, minute, second = map(int, parts.groups())
    shifted = year - (month < 3)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = 365 * shifted + shifted // 4 - shifted // 100 + shifted // 400 + day_of_year - 719468
    return 86400 * days + 3600 * hour + 60 * minute + second


def mode_of(letters):
    mode = 0
    for at, letter in enumerate(letters.decode()):
        if letter in "rwxst":
            mode |= BITS[at]
        if letter in "sStT":
            mode |= SPECIAL[at]
    return mode


def list_gnu(data):
    run = subprocess.run(
        GNU_TAR, input=data, capture_output=True, timeout=DEADLINE_S, env={"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC0"}
    )
    if run.returncode != 0:
        return None
    return [gnu_entry(line) for line in run.stdout.split(b"\n") if line != b""]


def gnu_entry(line):
    match = LINE.match(line)
    if match is None:
        raise ValueError("GNU tar wrote %r" % line)
    letter, permissions, size, time, name, target = match.groups()
    kind = KIND_OF_LETTER.get(letter.decode(), "none")
    return entry(
        unquoted(name), kind, mode_of(permissions), int(size) if size.isdigit() else 0, seconds_of(time.decode()), unquoted(target or b"")
    )


def main():
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    while True:
        length = sys.stdin.buffer.read(4)
        if len(length) < 4:
            return
        data = sys.stdin.buffer.read(struct.unpack(">I", length)[0])
        readers = {"python": list_python, "libarchive": list_libarchive, "gnu": list_gnu}
        print(json.dumps({name: read(data) for name, read in readers.items()}), flush=True)


main()
