import Glibc
import IO
import NBDWire
import Ring
import Units

/// The lower bound of what a request costs a server on our ring: it answers, and stores nothing.
@main
struct Main {
  private static let usage = """
    usage: bare-echo --listen PATH --size SIZE

    Answers NBD requests on the unix socket PATH for a device of SIZE bytes that does not exist:
    reads return the bytes of one buffer, writes are dropped. Runs until SIGINT or SIGTERM. For
    benchmarks: no server that stores anything can be faster on the same ring.

    """

  static func main() {
    // A client that goes away is an error of the send, not the end of the program.
    _ = signal(SIGPIPE, SIG_IGN)
    let arguments = Array(CommandLine.arguments.dropFirst())
    guard !arguments.contains("--help") else {
      write(usage, to: STDOUT_FILENO)
      exit(0)
    }
    let settings: Settings
    do throws(SettingsError) {
      settings = try Settings(arguments)
    } catch {
      write("bare-echo: \(error.message)\n\(usage)", to: STDERR_FILENO)
      exit(2)
    }
    exit(run(settings))
  }

  private static func run(_ settings: Settings) -> Int32 {
    let machine: RingMachine
    do throws(RingError) {
      machine = try RingMachine()
    } catch {
      return complain(error.explanation)
    }
    let signals: SignalStream
    do throws(SystemError) {
      signals = try SignalStream([SIGTERM, SIGINT, SIGHUP], machine: machine)
    } catch {
      return complain("signals cannot be received: \(error)")
    }
    let listener: RingListener
    do throws(ListenError) {
      listener = try machine.listen(unixPath: settings.path, mode: 0o600)
    } catch {
      return complain("cannot listen at \(settings.path): \(error)")
    }
    guard let echo = Echo(byteCount: settings.byteCount, machine: machine) else {
      return complain("no memory for the payload")
    }
    return machine.run {
      let acceptor = Task(executorPreference: machine) { await echo.accept(from: listener) }
      _ = await signals.next()
      listener.stop()
      await acceptor.value
      await listener.close()
      return 0
    }
  }

  private static func complain(_ text: String) -> Int32 {
    write("bare-echo: \(text)\n", to: STDERR_FILENO)
    return 1
  }

  private static func write(_ text: String, to descriptor: Int32) {
    let bytes = Array(text.utf8)
    // Safe: the array lives until the call returns.
    unsafe bytes.withUnsafeBytes { unsafe _ = Glibc.write(descriptor, $0.baseAddress, $0.count) }
  }
}

/// What the command line asks for.
struct Settings: Sendable {
  let path: String
  let byteCount: UInt64

  init(_ arguments: [String]) throws(SettingsError) {
    var values: [String: String] = [:]
    var index = 0
    while index < arguments.count {
      let name = arguments[index]
      guard name == "--listen" || name == "--size" else {
        throw SettingsError(message: "unknown argument '\(name)'")
      }
      guard index + 1 < arguments.count else {
        throw SettingsError(message: "\(name) needs a value")
      }
      values[name] = arguments[index + 1]
      index += 2
    }
    guard let path = values["--listen"], let size = values["--size"] else {
      throw SettingsError(message: "--listen and --size are both needed")
    }
    self.path = path
    do throws(QuantityError) {
      byteCount = try ByteSize.parse(size)
    } catch {
      throw SettingsError(message: "--size: '\(size)' \(error)")
    }
    guard byteCount > 0 && byteCount <= 1 << 62 else {
      throw SettingsError(message: "--size: '\(size)' is not a device's size")
    }
  }
}

/// Why the command line was not understood.
struct SettingsError: Error {
  let message: String
}
