# Reads a file of a mount again and again, past the page cache, while spans of its layer are evicted and
# stored again beside, as any process that shares the cache may do at any moment:
#   evict   entry cleared, then the bytes punched out        store   bytes written, then the entry, of this second
# The entries that it writes are old, so that the server reads the spans by itself at once, and no two are the same:
# that two stores of one second are told apart is a matter of the clock, which no test can wait for.
#   evictor.py FILE SHA256 LAYER-FOLDER EVICTIONS      prints {"wrong": n, "reads": n, "evicted": n} as JSON
import ctypes
import hashlib
import json
import mmap
import multiprocessing
import os
import random
import struct
import sys
import tempfile
import time

name, wanted, folder, evictions = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
libc = ctypes.CDLL(None, use_errno=True)
PUNCH_HOLE, KEEP_SIZE = 2, 1
layer_map = os.open(folder + "/spans.map", os.O_RDWR)
spans = os.open(folder + "/spans", os.O_RDWR)
(count,) = struct.unpack("<I", os.pread(layer_map, 4, 8))
lengths = struct.unpack("<%dI" % count, os.pread(layer_map, 4 * count, 16))
starts = [sum(lengths[:i]) for i in range(count)]
first_entry = int(time.time()) - 1_000_000


def evict():
    dice = random.Random(7)
    for number in range(evictions):
        span = dice.randrange(count)
        place = 16 + 4 * (count + span)
        content = os.pread(spans, lengths[span], starts[span])
        os.pwrite(layer_map, b"\0\0\0\0", place)
        punched = libc.fallocate(spans, PUNCH_HOLE | KEEP_SIZE, ctypes.c_long(starts[span]), ctypes.c_long(lengths[span]))
        assert punched == 0, os.strerror(ctypes.get_errno())
        if dice.random() < 0.2:
            time.sleep(dice.random() * 0.0005)
        os.pwrite(spans, content, starts[span])
        os.pwrite(layer_map, struct.pack("<I", first_entry + number), place)
        time.sleep(dice.random() * 0.002)


def read(until):
    """In large pieces past the page cache: each is long under way, and meets evictions at every point."""
    wrong = reads = 0
    room = mmap.mmap(-1, 1 << 20)
    while not os.path.exists(until):
        file = os.open(name, os.O_RDONLY | os.O_DIRECT)
        digest = hashlib.sha256()
        while length := os.readv(file, [room]):
            digest.update(memoryview(room)[:length])
        os.close(file)
        reads += 1
        wrong += digest.hexdigest() != wanted
    return wrong, reads


with tempfile.TemporaryDirectory() as folder, multiprocessing.Pool(2) as pool:
    until = os.path.join(folder, "done")
    readers = pool.map_async(read, [until] * 2)
    evict()
    open(until, "w").close()
    results = readers.get(timeout=60)
print(json.dumps({"wrong": sum(w for w, _ in results), "reads": sum(r for _, r in results), "evicted": evictions}))
