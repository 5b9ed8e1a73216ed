# Plays the kernel's part of the FUSE protocol over a socket, against a server that takes it for /dev/fuse:
#   fuse-peer.py KERNEL SEED MUTATIONS SERVER...        (SERVER gets @FD@ replaced by the number of its descriptor)
# KERNEL: which one it plays, by what its INIT offers: a row of KERNELS.
# First well-formed requests, whose replies are held against the tree of the test; then the same requests with bytes
# changed, cut off and added at random. Every request but those without an answer must be answered once, well-formed.
# Prints {"answers": [...], "sent": n, "answered": n, "status": exit status of the server} as JSON.
import errno
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys

# Minor version, bytes of INIT, features by bit. 5.10 has neither the second word of features nor the longer INIT; a
# kernel that offers nothing has to be told everything by OPEN.
KERNELS = {
    "6.9": (40, 64, [0, 13, 14, 17, 18, 22, 23, 24, 30]),
    "5.10": (32, 16, [0, 1, *range(3, 26)]),
    "without features": (31, 16, []),
    "3.8": (21, 16, [0, 4, 13, 14]),
}
minor, init_bytes, bits = KERNELS[sys.argv[1]]
seed, mutations = int(sys.argv[2]), int(sys.argv[3])
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
os.set_inheritable(theirs.fileno(), True)
number = str(theirs.fileno())
server = subprocess.Popen([w.replace("@FD@", number) for w in sys.argv[4:]], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
theirs.close()
DEADLINE = 20
LARGEST = 1024 * 1024 + 16
unique = 0
FORGET, BATCH_FORGET, INTERRUPT, NOTIFY_REPLY = 2, 42, 36, 41
UNANSWERED = {FORGET, BATCH_FORGET, INTERRUPT, NOTIFY_REPLY}


def request(opcode, node, arguments=b"", length=None):
    global unique
    unique += 2
    body = struct.pack("<IIQQIIIHH", 40 + len(arguments) if length is None else length, opcode, unique, node, 0, 0, 1, 0, 0) + arguments
    return body


def receive(wait=DEADLINE):
    ready, _, _ = select.select([ours], [], [], wait)
    if not ready:
        return None
    data = ours.recv(LARGEST + 4096)
    if data == b"":
        raise SystemExit("the server closed the connection")
    assert len(data) >= 16, "a reply without a header"
    length, error, about = struct.unpack("<IiQ", data[:16])
    assert length == len(data), "a reply whose length is not its own"
    assert -511 <= error <= 0, "no errno: %d" % error
    assert error == 0 or length == 16, "an error with a body"
    return about, -error, data[16:]


def ask(opcode, node, arguments=b""):
    body = request(opcode, node, arguments)
    ours.send(body)
    answer = receive()
    assert answer is not None, "no answer to opcode %d" % opcode
    about, error, data = answer
    assert about == unique, "the answer to another request"
    return (errno.errorcode[error] if error else 0), data


def init(major, minor):
    return ask(26, 0, (struct.pack("<IIII", major, minor, 131072, sum(1 << bit for bit in bits)) + b"\0" * 48)[:init_bytes])


def read_arguments(offset, size):
    return struct.pack("<QQIIQII", 0, offset, size, 0, 0, 0, 0)


answers = {}
# A kernel of the future says 8 first and asks again with our major version.
error, data = init(8, 3)
answers["init of version 8"] = [error, struct.unpack("<I", data[:4])[0]]
error, data = init(7, minor)
if error:
    print(json.dumps({"answers": {"init": error}, "sent": 0, "answered": 0, "status": server.wait(timeout=DEADLINE)}))
    raise SystemExit
taken, pages, taken_more = struct.unpack("<12xI12xH2xI", data[:36])
answers["init"] = [error, len(data), list(struct.unpack("<II", data[:8])), [bit for bit in range(32) if taken >> bit & 1], taken_more, pages]
error, data = ask(1, 1, b"f\0")
node = struct.unpack("<Q", data[:8])[0]
answers["lookup f"] = [error, len(data), struct.unpack("<Q", data[48:56])[0]]
error, data = ask(1, 1, b"none\0")
answers["lookup none"] = [error, struct.unpack("<Q", data[:8])[0], struct.unpack("<Q", data[16:24])[0] > 10**6]
answers["lookup in a file"] = ask(1, node, b"x\0")[0]
answers["lookup of 256 bytes"] = ask(1, 1, b"n" * 256 + b"\0")[0]
answers["lookup without an end"] = ask(1, 1, b"never ends")[0]
answers["a node that is not there"] = ask(3, 2**40, b"\0" * 16)[0]
answers["node 0"] = ask(3, 0, b"\0" * 16)[0]
answers["read"] = [ask(15, node, read_arguments(0, 4096))[1].decode(), ask(15, node, read_arguments(3, 2))[1].decode()]
answers["read past the end"] = ask(15, node, read_arguments(2**62, 10))
answers["read past the end"] = [answers["read past the end"][0], len(answers["read past the end"][1])]
answers["read of a directory"] = ask(15, 1, read_arguments(0, 10))[0]
answers["read of 4 GiB"] = ask(15, node, read_arguments(0, 2**32 - 1))[0]
answers["readdir without room"] = ask(28, 1, read_arguments(0, 8))[0]
answers["readdir far behind the end"] = [len(ask(28, 1, read_arguments(2**64 - 1, 4096))[1]), len(ask(44, 1, read_arguments(2**63, 4096))[1])]
names = []
offset = 0
while True:
    data = ask(28, 1, read_arguments(offset, 80))[1]
    if not data:
        break
    at = 0
    while at < len(data):
        ino, offset, length, kind = struct.unpack("<QQII", data[at : at + 24])
        names.append(data[at + 24 : at + 24 + length].decode("latin-1"))
        at += (24 + length + 7) & ~7
answers["readdir in small pieces"] = names


def opened(answer):
    error, data = answer
    return error or struct.unpack("<QII", data)[1]  # what the kernel may do with the file


answers["open"] = [opened(ask(14, node, struct.pack("<II", flags, 0))) for flags in (0, 1, 2)]
answers["opendir"] = opened(ask(27, 1, struct.pack("<II", 0, 0)))
answers["release"] = [ask(opcode, node, b"\0" * 24)[0] for opcode in (18, 29)]
answers["writing"] = sorted({str(ask(opcode, node, b"\0" * 64)[0]) for opcode in (4, 6, 8, 9, 10, 11, 12, 13, 16, 21, 24, 35, 43, 45, 47, 51)})
answers["access"] = [ask(34, node, struct.pack("<II", mask, 0))[0] for mask in (4, 2)]
answers["unknown opcodes"] = sorted({str(ask(opcode, 1, b"\0" * 64)[0]) for opcode in (0, 7, 19, 53, 4095, 2**32 - 1)})
answers["statfs"] = [ask(17, 1)[0], struct.unpack("<IIII", ask(17, 1)[1][40:56])[0:2]]
answers["destroy"] = ask(38, 0)[0]
answers["a length that lies"] = None
body = request(3, 1, b"\0" * 16, length=4000)
ours.send(body)
answers["a length that lies"] = errno.errorcode[receive()[1]]

# The same with damage.
dice = random.Random(seed)
seeds = [
    (opcode, node_, arguments)
    for opcode, arguments in [
        (1, b"f\0"),
        (3, b"\0" * 16),
        (5, b""),
        (14, b"\0" * 8),
        (15, read_arguments(0, 4096)),
        (17, b""),
        (22, struct.pack("<II", 100, 0) + b"user.a\0"),
        (23, struct.pack("<II", 100, 0)),
        (27, b"\0" * 8),
        (28, read_arguments(0, 4096)),
        (34, struct.pack("<II", 4, 0)),
        (36, struct.pack("<Q", 2)),
        (2, struct.pack("<Q", 1)),
        (42, struct.pack("<II", 2, 0) + b"\1" * 32),
        (44, read_arguments(0, 4096)),
        (46, struct.pack("<QQII", 0, 1, 3, 0)),
        (52, b"\0" * 24),
    ]
    for node_ in (1, node)
]
sent = answered = 0
for _ in range(mutations):
    opcode, to, arguments = dice.choice(seeds)
    body = bytearray(request(opcode, to, arguments))
    for _ in range(dice.randrange(1, 5)):
        kind = dice.randrange(6)
        if kind == 0:
            body[dice.randrange(len(body))] = dice.randrange(256)
        elif kind == 1:
            body = body[: dice.randrange(1, len(body) + 1)]
        elif kind == 2:
            body += bytes(dice.randrange(256) for _ in range(dice.randrange(1, 64)))
        elif kind == 3 and len(body) >= 48:
            struct.pack_into("<Q", body, 40, dice.choice([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]))
        elif kind == 4 and len(body) >= 8:
            struct.pack_into("<I", body, 0, len(body))
        elif kind == 5 and len(body) >= 8:
            struct.pack_into("<I", body, 4, dice.randrange(60))
    ours.send(bytes(body))
    sent += 1
    if len(body) < 40:
        continue
    length, what = struct.unpack("<II", body[:8])
    about = struct.unpack("<Q", body[8:16])[0]
    # Whether it is answered depends on whether it is whole; what must be answered is asked for again below.
    while True:
        answer = receive(0)
        if answer is None:
            break
        answered += 1
# Still there, and as right as before. Answers that were under way come first.
marker = request(15, node, read_arguments(0, 4096))
ours.send(marker)
while True:
    answer = receive()
    assert answer is not None, "no answer after the damage"
    answered += 1
    if answer[0] == unique:
        answers["after the damage"] = answer[2].decode()
        break
ours.close()
status = server.wait(timeout=DEADLINE)
print(json.dumps({"answers": answers, "sent": sent, "answered": answered, "status": status}))
