import Glibc
import IO
import Testing

@testable import Control

@Suite("Control: what the kernel says")
struct SystemTests {
  @Test("mounts are read, names unescaped, odd lines passed over")
  func readsMounts() {
    let text = """
      22 1 0:20 / /proc rw,nosuid shared:5 - proc proc rw
      36 35 7:0 / /srv/with\\040blank\\134x rw,noatime shared:1 master:2 - ext4 /dev/loop0 rw
      37 35 7:0 /sub /srv/again rw - ext4 /dev/loop0 rw,errors=remount-ro
      short line
      38 35 0:50 / /run/a.fuse rw,nodev - fuse.nbdfuse nbdfuse rw
      39 35 0:51 / /run/a.fuse rw,nodev
      """
    let table = MountTable(mountinfo: Array(text.utf8))
    #expect(table.mounts.count == 4)
    #expect(table.folders(ofDevice: "7:0") == ["/srv/with blank\\x", "/srv/again"])
    #expect(table.folders(ofDevice: "7:1").isEmpty)
    #expect(table.mount(on: "/run/a.fuse")?.fileSystem == "fuse.nbdfuse")
    #expect(table.mount(on: "/run") == nil)
  }

  @Test("this process sees its root mounted")
  func readsOwnMounts() {
    #expect(MountTable.current().mount(on: "/") != nil)
  }

  @Test("swap devices are read without the heading")
  func readsSwaps() {
    let text = "Filename\tType\tSize\n/dev/nbd0p1   partition 1 0 -2\n/a\\040b file 1 0 -3\n"
    #expect(swapDevices(swaps: Array(text.utf8)) == ["/dev/nbd0p1", "/a b"])
    #expect(swapDevices(swaps: []).isEmpty)
  }

  @Test("a process is known by state and start, whatever its program is called")
  func readsProcessFacts() throws {
    let tail = "S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 200 18446744073709551615\n"
    for program in ["ashlar", "a) R 1", "(x", ""] {
      let facts = try #require(ProcessFacts(stat: Array("12 (\(program)) \(tail)".utf8)))
      #expect(facts.state == "S")
      #expect(facts.startTicks == 98765)
    }
    #expect(ProcessFacts(stat: Array("12 (x) S 1".utf8)) == nil)
    #expect(ProcessFacts(stat: []) == nil)
    let own = try #require(ProcessFacts(processID: getpid()))
    #expect(ProcessFacts.isRunning(getpid(), startTicks: own.startTicks))
    #expect(!ProcessFacts.isRunning(getpid(), startTicks: own.startTicks + 1))
    #expect(ProcessFacts(processID: 0) == nil)
    #expect(ProcessFacts(processID: -1) == nil)
  }

  @Test(
    "only whole loop and nbd devices are taken for such",
    arguments: [
      ("/dev/loop0", "loop0"), ("/dev/nbd12", "nbd12"), ("/dev/nbd", nil), ("/dev/nbd0p1", nil),
      ("/dev/sda", nil), ("/dev/loop-control", nil), ("loop0", nil), ("/dev/../loop0", nil),
    ] as [(String, String?)])
  func namesBlockDevices(path: String, name: String?) {
    #expect(BlockDevice(path: path)?.kernelName == name)
  }
}

@Suite("Control: other programs")
struct SubprocessTests {
  private func limit(_ milliseconds: UInt64) -> Deadline {
    Deadline(afterNanoseconds: milliseconds * 1_000_000)
  }

  @Test("status, output and complaint come back")
  func collectsWhatAProgramSays() throws {
    let outcome = try Subprocess.run(
      "/bin/sh", ["-c", "echo out; echo first >&2; echo last >&2; exit 3"], until: limit(10_000))
    #expect(outcome.status == 3)
    #expect(outcome.output == "out\n")
    #expect(outcome.reason == "last")
    let killed = try Subprocess.run("/bin/sh", ["-c", "kill -9 $$"], until: limit(10_000))
    #expect(killed.status == 137)
    #expect(killed.reason == "it ended with status 137")
  }

  @Test("more output than a pipe holds does not block")
  func drainsBothPipes() throws {
    let script = "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"
    let outcome = try Subprocess.run("/bin/sh", ["-c", script], until: limit(20_000))
    #expect(outcome.output.utf8.count == 300_000)
    #expect(outcome.complaint.utf8.count == 300_000)
  }

  @Test("a program that does not end is killed at the deadline")
  func killsAtTheDeadline() {
    #expect(throws: Subprocess.Failure.timedOut(complaint: "why\n")) {
      try Subprocess.run("/bin/sh", ["-c", "echo why >&2; exec sleep 1000"], until: limit(500))
    }
  }

  @Test("a program that leaves a child with its pipes is not waited for")
  func ignoresInheritedPipes() throws {
    let outcome = try Subprocess.run(
      "/bin/sh", ["-c", "sleep 3 & echo done"], until: limit(10_000))
    #expect(outcome.output == "done\n")
  }

  @Test("a program that is not there is an error, and none is found by that name")
  func missesPrograms() {
    #expect(throws: Subprocess.Failure.cannotStart(.init(ENOENT))) {
      try Subprocess.run("/nonexistent/program", [], until: limit(1000))
    }
    #expect(Subprocess.find("no-such-program-anywhere") == nil)
    #expect(Subprocess.find("sh") != nil)
  }

  @Test("a child inherits neither our descriptors nor our ignored signals")
  func inheritsNothing() throws {
    _ = signal(SIGPIPE, SIG_IGN)
    // Left open across exec on purpose.
    let descriptor = unsafe open("/dev/null", O_RDONLY)
    defer { close(descriptor) }
    let script = "ls /proc/self/fd | wc -l; grep SigIgn /proc/self/status"
    let outcome = try Subprocess.run("/bin/sh", ["-c", script], until: limit(10_000))
    let words = outcome.output.split { $0 == "\n" || $0 == "\t" || $0 == " " }
    // 0, 1, 2 and the one of ls itself.
    #expect(words.first == "4")
    let ignored = words.last.flatMap { UInt64($0, radix: 16) } ?? .max
    #expect(ignored & (1 << UInt64(SIGPIPE - 1)) == 0)
  }
}
