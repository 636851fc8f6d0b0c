# Third part of the warm parent: how children come by their memory before they need it.

# How many ends of each command are looked at.
LESSONS = 4
# For madvise(2), since Linux 5.14; an older one refuses it, and nothing is done ahead.
MADV_POPULATE_WRITE = 23
# Of /proc/self/pagemap: a page that is in memory, and in that of no other process.
OWN = 1 << 63 | 1 << 56


class Memory:
    """The pages that commands write to.

    A child has its parent's pages until it writes to them, and to copy one then takes the system a
    microsecond or more; a command writes to a thousand. So the first children of each command mark
    the pages that were their own in the end, and a child makes those its own while it waits.
    """

    def __init__(self, names):
        import mmap

        self.advise = function_of_c("madvise", 3)
        self.page = mmap.PAGESIZE
        self.names = sorted(names)
        self.regions = []
        count = len(self.names)
        for begin, end in private_memory():
            if not self.regions and self.advise(begin, self.page, MADV_POPULATE_WRITE) != 0:
                # The system can't do it, so there is nothing to learn.
                break
            pages = (end - begin) // self.page
            self.regions.append((begin, pages, count))
            count += pages
        # Shared with the children: how often each command was looked at, and a mark for each page.
        self.shared = mmap.mmap(-1, count)
        self.known = b""
        self.marked = []

    def learn(self, name):
        """In a child that has done its work: marks what is its own."""
        import array

        at = self.names.index(name)
        if self.shared[at] >= LESSONS:
            return
        with open("/proc/self/pagemap", "rb", 0) as file:
            for begin, pages, mark in self.regions:
                file.seek(begin // self.page * 8)
                for entry in array.array("Q", file.read(pages * 8)):
                    if entry & OWN == OWN:
                        self.shared[mark] = 1
                    mark += 1
        self.shared[at] += 1

    def plan(self):
        """In the parent: gathers what the next child makes its own."""
        import re

        lessons = self.shared[: len(self.names)]
        if lessons == self.known:
            return
        self.known = lessons
        self.marked = []
        for begin, pages, mark in self.regions:
            for run in re.finditer(b"\1+", self.shared[mark : mark + pages]):
                self.marked.append((begin + run.start() * self.page, len(run.group()) * self.page))

    def make_own(self):
        """In a child that has no words yet."""
        for begin, length in self.marked:
            # What the parent has given back meanwhile is refused.
            self.advise(begin, length, MADV_POPULATE_WRITE)


def private_memory():
    """Where a process can write without others seeing it."""
    with open("/proc/self/maps", "rb") as file:
        for line in file:
            place, rights = line.split()[:2]
            if rights == b"rw-p":
                yield tuple(int(end, 16) for end in place.split(b"-"))


