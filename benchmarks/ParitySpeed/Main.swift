import Glibc
import IO

/// How fast parity and checksums are through our own functions, and by calling ISA-L directly.
@main
struct Main {
  private static let usage = """
    usage: parity-speed [--rounds N] [--milliseconds N]

    Measures XOR, P+Q and CRC32C through the module Parity, as the array calls it, and by calling
    ISA-L's functions on the same buffers, in turns. Prints JSON: bytes per nanosecond of the
    thread's CPU time, for each round (default: 9) of N milliseconds each way (default: 20).

    """

  static func main() {
    var values = ["--rounds": 9, "--milliseconds": 20]
    let arguments = Array(CommandLine.arguments.dropFirst())
    guard !arguments.contains("--help") else {
      print(usage, terminator: "")
      return
    }
    var index = 0
    while index < arguments.count {
      guard values[arguments[index]] != nil, index + 1 < arguments.count,
        let value = Int(arguments[index + 1]), (1...10_000).contains(value)
      else { fail("'\(arguments[index])' was not understood\n\(usage)", status: 2) }
      values[arguments[index]] = value
      index += 2
    }
    let rounds = values["--rounds"] ?? 1
    let milliseconds = values["--milliseconds"] ?? 1
    guard let memory = AlignedMemory(byteCount: Kernels.memoryByteCount) else {
      fail("no memory", status: 1)
    }
    let kernels = Kernels(memory)
    guard kernels.agree() else { fail("the two ways give different results", status: 1) }
    print(report(kernels.all.map { measured($0, rounds: rounds, milliseconds: milliseconds) }))
  }

  private static func fail(_ text: String, status: Int32) -> Never {
    let bytes = Array("parity-speed: \(text)\n".utf8)
    // Safe: the array lives until the call returns.
    unsafe bytes.withUnsafeBytes { unsafe _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
    exit(status)
  }

  // MARK: Measuring

  /// One kernel's rounds: in each, short turns of both ways, so that a slow moment slows both.
  private static func measured(_ kernel: Kernel, rounds: Int, milliseconds: Int) -> Result {
    let budget = UInt64(milliseconds) * 1_000_000
    let turn = turnCalls(kernel)
    var result = Result(kernel: kernel)
    for round in 0..<rounds {
      var ours: UInt64 = 0
      var direct: UInt64 = 0
      var turns: UInt64 = 0
      while ours + direct < 2 * budget {
        // Who is first alternates: the second finds the buffers in the cache.
        if (UInt64(round) + turns) % 2 == 0 {
          ours += nanoseconds { kernel.ours(turn) }
          direct += nanoseconds { kernel.direct(turn) }
        } else {
          direct += nanoseconds { kernel.direct(turn) }
          ours += nanoseconds { kernel.ours(turn) }
        }
        turns += 1
      }
      let bytes = Double(turns) * Double(turn) * Double(kernel.bytesPerCall)
      result.rounds.append((ours: bytes / Double(ours), direct: bytes / Double(direct)))
    }
    return result
  }

  /// As many calls as take a fifth of a millisecond; at least one.
  private static func turnCalls(_ kernel: Kernel) -> Int {
    var calls = 1
    while nanoseconds({ kernel.direct(calls) }) < 200_000 { calls *= 2 }
    return calls
  }

  /// The thread's CPU time, which the turns of others do not count in.
  private static func nanoseconds(_ body: () -> Void) -> UInt64 {
    let start = now()
    body()
    return now() - start
  }

  private static func now() -> UInt64 {
    var time = timespec()
    // Safe: fills the local.
    unsafe _ = clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  // MARK: Reporting

  private struct Result {
    let kernel: Kernel
    var rounds: [(ours: Double, direct: Double)] = []
  }

  private static func report(_ results: [Result]) -> String {
    let lines = results.map { result in
      let rounds = result.rounds.map { "{\"ours\": \($0.ours), \"direct\": \($0.direct)}" }
      return """
        {"kernel": "\(result.kernel.name)", "byte_count": \(result.kernel.byteCount), \
        "rounds": [\(rounds.joined(separator: ", "))]}
        """
    }
    return "[\n\(lines.joined(separator: ",\n"))\n]"
  }
}
