import Glibc

/// A thread of its own that works whenever it is woken, for work that the loop which serves I/O must
/// not stand still for.
final class WakingThread: Sendable {
  private let wakeUp: [Int32]

  /// No thread yet: `start` comes next.
  init() {
    var ends: [Int32] = [-1, -1]
    // Safe: room for two descriptors.
    let isMade = unsafe pipe(&ends) == 0
    wakeUp = isMade ? ends : []
    for end in wakeUp { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    // The end that the loop writes to never blocks: a byte that finds no room is not needed.
    if let end = wakeUp.last { _ = fcntl(end, F_SETFL, O_NONBLOCK) }
  }

  /// Starts the thread, on which `work` does all that there is to do each time.
  func start(_ work: @escaping @Sendable () -> Void) {
    guard !wakeUp.isEmpty else { return }
    startDetachedThread { [self] in workForEver(work) }
  }

  /// Has the work done; never waits.
  ///
  /// - Returns: false when there is no thread to do it: no descriptors were left at the start.
  func wake() -> Bool {
    guard let end = wakeUp.last else { return false }
    var byte: UInt8 = 0
    // Safe: one byte of a local.
    unsafe _ = Glibc.write(end, &byte, 1)
    return true
  }

  private func workForEver(_ work: () -> Void) {
    guard let end = wakeUp.first else { return }
    var bytes = [UInt8](repeating: 0, count: 512)
    while true {
      // Safe: as many bytes as the array has.
      let count = unsafe read(end, &bytes, bytes.count)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return }
      work()
    }
  }
}
