import Control
import IO
import RAID
import Ring
import Synchronization

/// `--arbiter file:PATH`: asks on threads of its own, for the file system may hang.
struct ArbiterDesk: Sendable {
  let file: ArbiterFile
  let machine: RingMachine
  let nanosecondsMax: UInt64
  let log: @Sendable (String) -> Void

  /// The path of `file:PATH`.
  static func path(_ text: String) throws(UsageError) -> String {
    guard text.hasPrefix("file:"), text.utf8.count > 5 else {
      throw UsageError("--arbiter: '\(text)' is not file:PATH")
    }
    return SmallFile.absolute(String(text.dropFirst(5)))
  }

  func ask(_ request: ArbiterRequest) async -> Bool {
    let (file, log) = (file, log)
    let deadline = Deadline(afterNanoseconds: nanosecondsMax)
    return await Offload(machine: machine).onThread { () -> Bool in
      do throws(SystemError) {
        return try file.answer(request, isLate: { deadline.hasPassed })
      } catch {
        log("the arbiter (\(file.path)) does not answer: \(error)")
        return false
      }
    }
  }
}
