import CUring
import Glibc
import IO

/// A thread for the few calls that the ring has no operation for and that may wait for a disk.
///
/// Requests and results travel as pointers through two pipes: the loop writes the first and reads
/// the second as an operation of the ring, so no lock is needed and the loop never waits. Requests
/// are served in order, one at a time.
@safe
actor BlockingWorker {
  /// One call; lives on the heap from its request to its result.
  @unsafe
  struct Call {
    enum Kind { case seekData, seekHole }
    var kind: Kind
    var descriptor: Int32
    var offset: Int64
    /// The call's result or a negated errno.
    var result: Int64 = 0
    // Safe: resumed once, by `receiveResults`.
    var waiter: UnsafeContinuation<Void, Never>?
  }

  nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe machine.unownedExecutor }
  private nonisolated unowned let machine: RingMachine
  /// Even a pipe that the kernel has cut to one page holds so many pointers.
  private static let callCountMax = 256
  private var callsUnderWay = 0
  // Safe: each is resumed once, when it is taken out.
  private var turnWaiters = unsafe [UnsafeContinuation<Void, Never>]()
  private var requestPipe: Int32 = -1
  private var resultPipe: Int32 = -1

  init(machine: RingMachine) {
    self.machine = machine
  }

  /// Performs `lseek` with `SEEK_DATA` or `SEEK_HOLE`.
  ///
  /// - Returns: the offset found or a negated errno.
  func seek(_ descriptor: Int32, from offsetBytes: UInt64, forHole: Bool) async -> Int64 {
    guard let offset = Int64(exactly: offsetBytes) else { return Int64(-EINVAL) }
    if requestPipe < 0, let error = start() { return Int64(-error.number) }
    // Safe: freed below, after the worker has handed it back.
    let call = UnsafeMutablePointer<Call>.allocate(capacity: 1)
    unsafe call.initialize(
      to: Call(kind: forHole ? .seekHole : .seekData, descriptor: descriptor, offset: offset))
    // A pipe holds some thousand pointers; the loop must never meet a full one.
    while callsUnderWay >= Self.callCountMax { await waitForTurn() }
    callsUnderWay += 1
    await hand(UInt(bitPattern: call), to: requestPipe)
    callsUnderWay -= 1
    if unsafe !turnWaiters.isEmpty { unsafe turnWaiters.removeFirst().resume() }
    let result = unsafe call.pointee.result
    unsafe call.deallocate()
    return result
  }

  private func waitForTurn() async {
    unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
      unsafe turnWaiters.append(waiter)
    }
  }

  /// Suspends until the worker has handed the call at `address` back.
  private func hand(_ address: UInt, to pipe: Int32) async {
    unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
      // Safe: the caller keeps the call until we return.
      let call = unsafe UnsafeMutablePointer<Call>(bitPattern: address)
      unsafe call?.pointee.waiter = unsafe waiter
      writePointer(address, to: pipe)
    }
  }

  private func start() -> SystemError? {
    var requests: (Int32, Int32) = (-1, -1)
    var results: (Int32, Int32) = (-1, -1)
    guard Self.makePipe(&requests) else { return .last }
    guard Self.makePipe(&results) else {
      let error = SystemError.last
      close(requests.0)
      close(requests.1)
      return error
    }
    let ends = WorkerEnds(requests: requests.0, results: results.1)
    guard startThread(ends) else {
      for descriptor in [requests.0, requests.1, results.0, results.1] { close(descriptor) }
      return SystemError(EAGAIN)
    }
    requestPipe = requests.1
    resultPipe = results.0
    Task(executorPreference: machine) { await self.receiveResults() }
    return nil
  }

  private static func makePipe(_ ends: inout (Int32, Int32)) -> Bool {
    var descriptors: [Int32] = [-1, -1]
    // Safe: room for two descriptors.
    guard unsafe ashlar_pipe(&descriptors) == 0 else { return false }
    ends = (descriptors[0], descriptors[1])
    return true
  }

  private func receiveResults() async {
    let memory = AlignedMemory(byteCount: 4096)
    guard let memory else { return }
    defer { withExtendedLifetime(memory) {} }
    while true {
      let received = await machine.readPipe(resultPipe, into: memory.buffer)
      if received == -EINTR || received == -EAGAIN { continue }
      guard received > 0 else { return }
      let words = Int(received) / MemoryLayout<UInt>.size
      for index in 0..<words {
        // Safe: the worker writes whole pointers, which a pipe keeps whole, and each is a call
        // that waits.
        let word = unsafe memory.buffer.baseAddress.load(
          fromByteOffset: index * MemoryLayout<UInt>.size, as: UInt.self)
        let call = unsafe UnsafeMutablePointer<Call>(bitPattern: word)
        if let waiter = unsafe call?.pointee.waiter { unsafe waiter.resume() }
      }
    }
  }
}

/// The worker's ends of the two pipes.
private struct WorkerEnds {
  var requests: Int32
  var results: Int32
}

private func writePointer(_ word: UInt, to descriptor: Int32) {
  var word = word
  while true {
    // Safe: eight bytes of a local. A pipe takes them whole or not at all.
    let written = unsafe write(descriptor, &word, MemoryLayout<UInt>.size)
    if written == MemoryLayout<UInt>.size { return }
    precondition(written < 0 && errno == EINTR, "write to the worker's pipe: \(SystemError.last)")
  }
}

private func startThread(_ ends: WorkerEnds) -> Bool {
  let argument = UnsafeMutablePointer<WorkerEnds>.allocate(capacity: 1)
  unsafe argument.initialize(to: ends)
  var attributes = pthread_attr_t()
  var thread = pthread_t()
  // Safe: initialised before use; the thread takes over the argument.
  unsafe pthread_attr_init(&attributes)
  unsafe pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
  let result = unsafe pthread_create(&thread, &attributes, workerMain, argument)
  unsafe pthread_attr_destroy(&attributes)
  if result != 0 { unsafe argument.deallocate() }
  return result == 0
}

private func workerMain(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let argument = unsafe argument else { return nil }
  // Safe: `startThread` hands over one WorkerEnds.
  let pointer = unsafe argument.assumingMemoryBound(to: WorkerEnds.self)
  let ends = unsafe pointer.pointee
  unsafe pointer.deallocate()
  var word: UInt = 0
  while true {
    // Safe: eight bytes of a local; each is a call that its requester keeps alive.
    let received = unsafe read(ends.requests, &word, MemoryLayout<UInt>.size)
    if received < 0 && errno == EINTR { continue }
    guard received == MemoryLayout<UInt>.size else { return nil }
    guard let call = unsafe UnsafeMutablePointer<BlockingWorker.Call>(bitPattern: word) else {
      continue
    }
    let whence = unsafe call.pointee.kind == .seekHole ? SEEK_HOLE : SEEK_DATA
    let found = unsafe lseek(call.pointee.descriptor, Int(call.pointee.offset), whence)
    unsafe call.pointee.result = found < 0 ? Int64(-errno) : Int64(found)
    writePointer(word, to: ends.results)
  }
}
