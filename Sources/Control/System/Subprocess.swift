import Glibc
package import IO

/// Runs other programs, without a shell.
package enum Subprocess {
  /// How a program ended and what it said.
  package struct Outcome: Equatable, Sendable {
    /// The exit status; 128 plus the signal's number when a signal ended it.
    package var status: Int32
    package var output: String
    package var complaint: String

    /// The last line of the complaint that says something, else the status.
    package var reason: String {
      let lines = complaint.split(separator: "\n").filter { line in line.contains { $0 != " " } }
      guard let last = lines.last else { return "it ended with status \(status)" }
      return String(last)
    }
  }

  /// Why there is no outcome.
  package enum Failure: Error, Equatable, Sendable {
    case cannotStart(SystemError)
    /// It was killed at the deadline.
    case timedOut(complaint: String)
  }

  /// Where a program is on the PATH; /usr/sbin and /sbin count too, where users' paths end early.
  package static func find(_ program: String) -> String? {
    let path = environmentVariable("PATH") ?? "/usr/bin:/bin"
    for folder in (path + ":/usr/sbin:/sbin").split(separator: ":") {
      let candidate = "\(folder)/\(program)"
      if unsafe access(candidate, X_OK) == 0 { return candidate }
    }
    return nil
  }

  /// Runs a program to its end and collects what it prints.
  package static func run(
    _ program: String, _ arguments: [String], until deadline: Deadline
  ) throws(Failure) -> Outcome {
    guard let output = Pipe(), let complaint = Pipe() else { throw .cannotStart(SystemError.last) }
    let processID = try spawn(
      program, arguments, output: output.writeEnd, complaint: complaint.writeEnd,
      inOwnSession: false)
    output.closeWriteEnd()
    complaint.closeWriteEnd()
    var texts: [[UInt8]] = [[], []]
    let ends = [output.readEnd, complaint.readEnd]
    var open = [true, true]
    var status: Int32?
    while true {
      if status == nil { status = collect(processID) }
      // A program may leave children behind that hold its pipes: its own end is what counts.
      if status != nil || !open.contains(true) { break }
      if deadline.hasPassed {
        end(processID)
        throw .timedOut(complaint: String(decoding: texts[1], as: UTF8.self))
      }
      wait(for: ends, open)
      for index in 0..<2 where open[index] {
        open[index] = drain(ends[index], into: &texts[index])
      }
    }
    for index in 0..<2 where open[index] { _ = drain(ends[index], into: &texts[index]) }
    if status == nil {
      guard
        deadline.wait(until: {
          status = collect(processID); return status != nil
        })
      else {
        end(processID)
        throw .timedOut(complaint: String(decoding: texts[1], as: UTF8.self))
      }
    }
    return Outcome(
      status: status ?? 0, output: String(decoding: texts[0], as: UTF8.self),
      complaint: String(decoding: texts[1], as: UTF8.self))
  }

  /// Starts a program that outlives this one: in a session of its own, its output in a file.
  ///
  /// - Returns: its process number.
  package static func startDetached(
    _ program: String, _ arguments: [String], logPath: String
  ) throws(Failure) -> Int32 {
    let log = unsafe open(logPath, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard log >= 0 else { throw .cannotStart(SystemError.last) }
    defer { close(log) }
    return try spawn(program, arguments, output: log, complaint: log, inOwnSession: true)
  }

  /// Kills a child of ours; one that waits in the kernel for a dead disk is left to its fate.
  private static func end(_ processID: Int32) {
    kill(processID, SIGKILL)
    _ = Deadline(afterNanoseconds: 1_000_000_000).wait { collect(processID) != nil }
  }

  /// How a child of ours ended, to be asked once after the end; nil while it runs.
  package static func collect(_ processID: Int32) -> Int32? {
    var status: Int32 = 0
    while true {
      let result = unsafe waitpid(processID, &status, WNOHANG)
      if result == processID { break }
      if result < 0, errno == EINTR { continue }
      // No child of ours any more: somebody else has collected it.
      return result < 0 ? 0 : nil
    }
    let signal = status & 0x7F
    return signal == 0 ? (status >> 8) & 0xFF : 128 + signal
  }

  /// POSIX_SPAWN_SETSID, which glibc's header shows to GNU programs only.
  private static let spawnInOwnSession: Int32 = 0x80

  private static func spawn(
    _ program: String, _ arguments: [String], output: Int32, complaint: Int32, inOwnSession: Bool
  ) throws(Failure) -> Int32 {
    var actions = unsafe posix_spawn_file_actions_t()
    var attributes = posix_spawnattr_t()
    // Safe: both are initialised before and destroyed after use; all pointers are for the call.
    unsafe posix_spawn_file_actions_init(&actions)
    unsafe posix_spawnattr_init(&attributes)
    defer {
      unsafe posix_spawn_file_actions_destroy(&actions)
      unsafe posix_spawnattr_destroy(&attributes)
    }
    unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    unsafe posix_spawn_file_actions_adddup2(&actions, output, 1)
    unsafe posix_spawn_file_actions_adddup2(&actions, complaint, 2)
    // Whatever a caller left open is not for a child that may live for months.
    for name in SmallFile.names(in: "/proc/self/fd") {
      guard let descriptor = Int32(name), descriptor > 2 else { continue }
      unsafe posix_spawn_file_actions_addclose(&actions, descriptor)
    }
    // We ignore SIGPIPE, and the child would inherit that.
    var signals = sigset_t()
    unsafe sigemptyset(&signals)
    unsafe posix_spawnattr_setsigmask(&attributes, &signals)
    unsafe sigaddset(&signals, SIGPIPE)
    unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
    var flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
    if inOwnSession { flags |= spawnInOwnSession }
    unsafe posix_spawnattr_setflags(&attributes, Int16(flags))

    var words: [UnsafeMutablePointer<CChar>?] = unsafe ([program] + arguments).map {
      unsafe strdup($0)
    }
    unsafe words.append(nil)
    defer { for index in unsafe words.indices { unsafe free(words[index]) } }
    var processID: pid_t = 0
    let result = unsafe posix_spawn(&processID, program, &actions, &attributes, &words, environ)
    guard result == 0 else { throw .cannotStart(SystemError(result)) }
    return processID
  }

  private static func wait(for descriptors: [Int32], _ open: [Bool]) {
    var polls = descriptors.indices.map { index in
      pollfd(fd: open[index] ? descriptors[index] : -1, events: Int16(POLLIN), revents: 0)
    }
    // Short, because the end of the process itself wakes nobody.
    unsafe _ = poll(&polls, nfds_t(polls.count), 20)
  }

  /// - Returns: false at the end of the pipe.
  private static func drain(_ descriptor: Int32, into bytes: inout [UInt8]) -> Bool {
    while true {
      var count = 0
      // Safe: the closure's buffer has the capacity that read is told.
      let chunk = unsafe [UInt8](unsafeUninitializedCapacity: 4096) { buffer, filled in
        count = unsafe read(descriptor, buffer.baseAddress, 4096)
        filled = max(0, count)
      }
      if count > 0 {
        // A program that never stops talking must not fill our memory.
        if bytes.count < 1 << 20 { bytes += chunk }
      } else {
        return count < 0 && (errno == EAGAIN || errno == EINTR)
      }
    }
  }

  /// A pipe whose ends close with it; reading does not block.
  private final class Pipe {
    let readEnd: Int32
    private(set) var writeEnd: Int32

    init?() {
      var ends: [Int32] = [-1, -1]
      guard unsafe pipe(&ends) == 0 else { return nil }
      readEnd = ends[0]
      writeEnd = ends[1]
      for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
      _ = fcntl(readEnd, F_SETFL, O_NONBLOCK)
    }

    func closeWriteEnd() {
      guard writeEnd >= 0 else { return }
      close(writeEnd)
      writeEnd = -1
    }

    deinit {
      closeWriteEnd()
      close(readEnd)
    }
  }
}
