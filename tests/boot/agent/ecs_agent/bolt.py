"""Reads and writes a bolt database, the file format of the agent's saved state.

From the format of bbolt 1.3, with the page numbers, the file size and the order of writes of bbolt itself: a commit
writes the root and the list of free pages to the two pages that the last commit freed, and then one of the two meta
pages. So an interrupted or cut file is broken as the real one is. Only what the agent's metadata needs: buckets at the
top level, small enough to be stored inline in the root page. In: the file's path. Out: dictionaries of bytes.
"""

import fcntl
import os
import struct

MAGIC, VERSION, PAGE_SIZE = 0xED0CDAED, 2, 4096
FILE_SIZE = 32768  # the first size of bbolt's memory map
BRANCH, LEAF, META, FREE = 0x01, 0x02, 0x04, 0x10
IS_BUCKET = 1
PAGE = struct.Struct("<QHHI")  # number, flags, count, overflow
ELEMENT = struct.Struct("<IIII")  # flags, position from here, size of the key, size of the value
BUCKET = struct.Struct("<QQ")  # root page, or 0 if it follows; sequence
FIELDS = struct.Struct("<IIIIQQQQQ")  # magic, version, page size, flags, root, sequence, free list, limit, transaction
CHECKSUM = struct.Struct("<Q")


class Invalid(Exception):
    """What bbolt reports as an error: no meta page is valid."""


class Damaged(Exception):
    """What ends a program that uses bbolt with a panic: a page that is not there, or is another one."""


def fnv64a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def leaf(number, entries):
    """A leaf page. `entries` are flags, key and value, sorted by key."""
    elements, data = b"", b""
    for index, (flags, key, value) in enumerate(entries):
        position = ELEMENT.size * (len(entries) - index) + len(data)
        elements += ELEMENT.pack(flags, position, len(key), len(value))
        data += key + value
    return PAGE.pack(number, LEAF, len(entries), 0) + elements + data


def root_page(number, buckets):
    """The root page, with all buckets inline."""
    entries = []
    for name, values in sorted(buckets.items()):
        inline = leaf(0, [(0, key, value) for key, value in sorted(values.items())])
        if len(inline) > PAGE_SIZE // 4:
            raise ValueError(f"the bucket {name!r} is too large to be stored inline")
        entries.append((IS_BUCKET, name, BUCKET.pack(0, 0) + inline))
    return leaf(number, entries)


def meta_page(root, free_list, limit, transaction):
    fields = FIELDS.pack(MAGIC, VERSION, PAGE_SIZE, 0, root, 0, free_list, limit, transaction)
    return PAGE.pack(transaction % 2, META, 0, 0) + fields + CHECKSUM.pack(fnv64a(fields))


def free_page(number, free):
    return PAGE.pack(number, FREE, len(free), 0) + struct.pack(f"<{len(free)}Q", *free)


def entries_of(page):
    """The entries of a leaf: flags, key, value."""
    _, flags, count, _ = PAGE.unpack_from(page)
    if flags != LEAF:
        raise Damaged(f"panic: invalid page type: {flags:x}")
    for index in range(count):
        at = PAGE.size + index * ELEMENT.size
        kind, position, key_size, value_size = ELEMENT.unpack_from(page, at)
        start = at + position
        if start + key_size + value_size > len(page):
            raise Damaged("panic: runtime error: slice bounds out of range")
        yield kind, page[start:start + key_size], page[start + key_size:start + key_size + value_size]


class Bolt:
    """An open database, locked against other programs, as bbolt opens it."""

    def __init__(self, path):
        self.file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
        fcntl.flock(self.file, fcntl.LOCK_EX)
        if not self.read(0, 1):
            first = [meta_page(3, 2, 4, 0), meta_page(3, 2, 4, 1), free_page(2, []), leaf(3, [])]
            self.file.write(b"".join(page.ljust(PAGE_SIZE, b"\0") for page in first))
        self.root, self.transaction = self.newest()

    def read(self, start, length):
        return os.pread(self.file.fileno(), length, start)

    def newest(self):
        """Root page and transaction of the newest valid meta page."""
        found = []
        for number in (0, 1):
            page = self.read(number * PAGE_SIZE, PAGE_SIZE)
            if len(page) < PAGE.size + FIELDS.size + CHECKSUM.size:
                continue
            fields = page[PAGE.size:PAGE.size + FIELDS.size]
            magic, version, _, _, root, _, _, _, transaction = FIELDS.unpack(fields)
            (checksum,) = CHECKSUM.unpack_from(page, PAGE.size + FIELDS.size)
            if (magic, version, checksum) == (MAGIC, VERSION, fnv64a(fields)):
                found.append((transaction, root))
        if not found:
            raise Invalid("invalid database")
        transaction, root = max(found)
        return root, transaction

    def page(self, number):
        page = self.read(number * PAGE_SIZE, PAGE_SIZE)
        if len(page) < PAGE_SIZE:
            raise Damaged("unexpected fault address 0x7f4c8c2e5000\nfatal error: fault\n"
                          "[signal SIGBUS: bus error code=0x2 addr=0x7f4c8c2e5000 pc=0xd2ab4e]")
        if PAGE.unpack_from(page)[0] != number:
            raise Damaged(f"panic: assertion failed: Page expected to be: {number}, but self identifies as "
                          f"{PAGE.unpack_from(page)[0]}")
        return page

    def buckets(self):
        found = {}
        for flags, name, value in entries_of(self.page(self.root)):
            if flags & IS_BUCKET:
                place = BUCKET.unpack_from(value)[0]
                inner = self.page(place) if place else value[BUCKET.size:]
                found[name] = {key: value for kind, key, value in entries_of(inner) if not kind & IS_BUCKET}
        return found

    def commit(self, buckets):
        """Replaces all buckets, in one transaction."""
        self.transaction += 1
        self.root, free_list, free = (4, 5, (2, 3)) if self.transaction % 2 == 0 else (2, 3, (4, 5))
        for number, page in ((self.root, root_page(self.root, buckets)), (free_list, free_page(free_list, free)),
                             (self.transaction % 2, meta_page(self.root, free_list, 6, self.transaction))):
            if len(page) > PAGE_SIZE:
                raise ValueError("the root page is full")
            os.pwrite(self.file.fileno(), page.ljust(PAGE_SIZE, b"\0"), number * PAGE_SIZE)
        if os.fstat(self.file.fileno()).st_size < FILE_SIZE:
            self.file.truncate(FILE_SIZE)
        os.fsync(self.file.fileno())
