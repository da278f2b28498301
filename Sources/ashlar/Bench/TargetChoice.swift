import Bench
import Control
import Glibc

/// What the user's TARGET means.
enum TargetChoice: Equatable, Sendable {
  case export(NBDAddress)
  case path(String)

  /// Equal for what is the same target, however it was written. (A file that is opened twice under
  /// different names is refused by its lock.)
  var identity: String {
    switch self {
    case .export(let address): "\(address.transport) \(address.export)"
    case .path(let path): path
    }
  }

  /// Finds out; a text may name a served device and a file at once.
  ///
  /// `note` is told what was chosen where there was a choice.
  static func resolve(
    _ text: String, note: (String) -> Void
  ) throws(BenchError) -> TargetChoice {
    if NBDAddress.isURI(text) {
      guard let address = NBDAddress(uri: text) else {
        throw BenchError(
          "'\(text)' is no NBD URI: it looks like nbd://HOST[:PORT]/EXPORT or "
            + "nbd+unix:///EXPORT?socket=PATH")
      }
      if address.transport == .other {
        throw BenchError("'\(text)': only nbd:// and nbd+unix:// can be measured")
      }
      return .export(address)
    }
    let fileExists = SmallFile.exists(text)
    if isValidDeviceName(text), let address = try servedDevice(text) {
      if fileExists {
        note(
          "'\(text)' is a served device and a file here: the device is taken; write ./\(text) "
            + "for the file")
      }
      return .export(address)
    }
    return .path(text)
  }

  /// - Returns: nil when no server of that name is running.
  private static func servedDevice(_ name: String) throws(BenchError) -> NBDAddress? {
    let socket: String
    let sighting: DeviceSighting
    do throws(RuntimeDirectoryError) {
      guard let directory = try RuntimeDirectory.existing() else { return nil }
      socket = try directory.blockSocketPath(name)
      let control = try directory.controlSocketPath(name)
      guard SmallFile.exists(socket) || SmallFile.exists(control) else { return nil }
      let deadline = Deadline(afterNanoseconds: 2_000_000_000)
      sighting = try DeviceSighting(name, in: directory, until: deadline)
    } catch {
      throw BenchError(error.description)
    }
    if case .silent(.notRunning) = sighting.server { return nil }
    guard SmallFile.exists(socket) else {
      throw BenchError(
        "\(name) is served, but not at its default socket \(socket): give its NBD URI")
    }
    return NBDAddress(socketPath: socket, export: name)
  }
}

/// Why nothing is measured, for the operator.
struct BenchError: Error, Equatable {
  let message: String
  let exitCode: Int32

  /// With `isUsage` the options are wrong, rather than the world.
  init(_ message: String, isUsage: Bool = false) {
    self.message = message
    exitCode = isUsage ? ExitCode.usage : ExitCode.failure
  }
}
