import IO
import RAID

// Copies and comparisons leave clients their time (docs/upkeep.md, section 5).
extension Session {
  /// Waits until a step may begin, and begins it; `endStep` ends it.
  ///
  /// While clients are there, one step is under way at a time: the governor rests behind each.
  func pace() async {
    while end == nil {
      let rest = onArray { $0.copyRestNanoseconds }
      guard let nanoseconds = rest ?? (stepCount > 0 && onArray { $0.hasClients } ? 1_000_000 : nil)
      else { break }
      if rest != nil { restedNanoseconds &+= nanoseconds }
      await machine.sleep(nanoseconds: nanoseconds)
    }
    stepCount += 1
  }

  /// A step that began then has ended.
  func endStep(began: UInt64) {
    stepCount -= 1
    onArray { $0.noteCopyStep(began: began) }
  }
}
