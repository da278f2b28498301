import CUring
import Glibc
package import IO

/// Signals as completions of the ring: nothing ever runs inside a signal handler.
package struct SignalStream: Sendable {
  private let descriptor: Int32
  private let machine: RingMachine

  /// Blocks the signals for the whole process and receives them here instead.
  ///
  /// Call it before any other thread is started.
  package init(_ signals: [Int32], machine: RingMachine) throws(SystemError) {
    var set = sigset_t()
    // Safe: `set` lives until the calls return.
    unsafe sigemptyset(&set)
    for signal in signals { unsafe sigaddset(&set, signal) }
    guard unsafe pthread_sigmask(SIG_BLOCK, &set, nil) == 0 else { throw .last }
    descriptor = unsafe ashlar_signalfd(&set)
    guard descriptor >= 0 else { throw .last }
    self.machine = machine
  }

  /// Waits for the next signal.
  ///
  /// - Returns: its number, or nil when there will be no more.
  package func next() async -> Int32? {
    guard let memory = AlignedMemory(byteCount: 4096) else { return nil }
    defer { withExtendedLifetime(memory) {} }
    while true {
      // struct signalfd_siginfo has 128 bytes and begins with the number.
      let count = await machine.readPipe(descriptor, into: memory.buffer.prefix(128))
      if count == -EINTR || count == -EAGAIN { continue }
      guard count == 128 else { return nil }
      // Safe: any bits make a number.
      return unsafe memory.buffer.prefix(4).baseAddress.load(as: Int32.self)
    }
  }
}
