import Control
import IO

/// The claim of this process to a device's name, and the folder where it counts.
struct NameClaim {
  let directory: RuntimeDirectory
  let lock: NameLock

  /// Why the name is not to be had, for the operator.
  struct Refusal: Error {
    let message: String

    init(_ message: String) {
      self.message = message
    }
  }

  /// Claims a name.
  ///
  /// - Parameters:
  ///   - name: a valid device name.
  ///   - alternative: what else could be done, behind "or".
  /// - Throws: that another process has it, or why that cannot be found out.
  init(_ name: String, alternative: String) throws(Refusal) {
    let path: String
    do throws(RuntimeDirectoryError) {
      directory = try RuntimeDirectory.created()
      path = try directory.lockPath(name)
    } catch {
      throw Refusal(error.description)
    }
    let taken: NameLock?
    do throws(SystemError) {
      taken = try NameLock.take(path)
    } catch {
      throw Refusal("cannot lock \(path): \(error)")
    }
    guard let taken else {
      throw Refusal(
        "a device called '\(name)' is already being served: see 'ashlar status \(name)', or "
          + alternative)
    }
    lock = taken
  }
}
