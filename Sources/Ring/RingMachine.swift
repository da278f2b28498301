import CUring
import Glibc
package import IO
import Synchronization

/// The seam on the kernel: one io_uring, one thread, and an executor that is their loop.
///
/// Actors that do I/O take this as their executor, so their `async` code runs on the thread that
/// is inside `run`. A suspended operation is an entry of the ring whose `user_data` is its own
/// continuation; reaping a completion resumes it. There is no lock: only the loop's thread may
/// enqueue, and what other threads have to say arrives as a completion.
///
/// Each turn of the loop runs every job that is ready, hands all new entries to the kernel with
/// one `io_uring_enter`, and reaps what has completed.
@safe
package final class RingMachine: Machine, SerialExecutor, TaskExecutor, @unchecked Sendable {
  package typealias MachineDisk = RingDisk
  package typealias MachineStream = RingStream
  package typealias MachineListener = RingListener

  /// Jobs run in one turn at most, so that a task that never suspends for I/O cannot keep
  /// completions from being reaped.
  private static let jobsPerTurnMax = 4096
  private static let entryCount: UInt32 = 1024
  private static let completionBatch = 256
  /// Disks get new work in pairs, also within a turn: one that has finished all it had would stand
  /// still until the turn has dealt with all of its results.
  private static let newDiskEntryCountMax = 2

  // Safe: allocated in `init`, freed in `deinit`, used by the loop's thread only.
  private let ring: UnsafeMutablePointer<io_uring>
  private let completions: UnsafeMutablePointer<UnsafeMutablePointer<io_uring_cqe>?>
  private let loopThread: pthread_t
  private var ready = JobQueue(capacity: 1024)
  private var timers = TimerQueue()
  private var spin = SpinPolicy()
  private var exitStatus: Int32?
  /// New entries for disks that the kernel has not been given.
  private var newDiskEntryCount = 0
  private var isSetUp = false
  private(set) var fileTable: FileTable?
  private(set) var blockingWorker: BlockingWorker?

  package private(set) var loopCounters = LoopCounters()

  /// Sets up the ring on the calling thread, which must be the one that calls `run`.
  ///
  /// - Throws: `RingError.unavailable` when the kernel is too old or forbids io_uring.
  package init() throws(RingError) {
    unsafe ring = .allocate(capacity: 1)
    unsafe ring.initialize(to: io_uring())
    unsafe completions = .allocate(capacity: Self.completionBatch)
    unsafe completions.initialize(repeating: nil, count: Self.completionBatch)
    loopThread = pthread_self()
    nowNanoseconds = Self.currentNanoseconds()
    // From here on `self` is whole, so a throw runs `deinit`.
    try unsafe Self.setUp(ring)
    isSetUp = true
    fileTable = unsafe FileTable(ring: ring)
    blockingWorker = BlockingWorker(machine: self)
  }

  deinit {
    // Safe: set up in `init`; nothing is in flight once the loop has ended.
    if isSetUp { unsafe io_uring_queue_exit(ring) }
    unsafe ring.deallocate()
    unsafe completions.deallocate()
  }

  /// Tries the setup flags from the newest kernel's to the oldest supported one's.
  private static func setUp(_ ring: UnsafeMutablePointer<io_uring>) throws(RingError) {
    let flagSets: [UInt32] = [
      // 6.1: completions are processed by the loop's thread, when it asks.
      UInt32(IORING_SETUP_SINGLE_ISSUER) | UInt32(IORING_SETUP_DEFER_TASKRUN)
        | UInt32(IORING_SETUP_TASKRUN_FLAG),
      // 5.19: without interrupting the thread.
      UInt32(IORING_SETUP_COOP_TASKRUN) | UInt32(IORING_SETUP_TASKRUN_FLAG),
    ]
    var result: Int32 = -EINVAL
    for flags in flagSets {
      var parameters = io_uring_params()
      parameters.flags = flags | UInt32(IORING_SETUP_CLAMP) | UInt32(IORING_SETUP_CQSIZE)
      parameters.cq_entries = entryCount * 8
      // Safe: `ring` is initialised memory; the parameters live until the call returns.
      result = unsafe io_uring_queue_init_params(entryCount, ring, &parameters)
      if result == 0 {
        // Saves the descriptor look-up at each enter; an old kernel's refusal costs only that.
        unsafe _ = io_uring_register_ring_fd(ring)
        return
      }
      if result != -EINVAL { break }
    }
    throw .unavailable(SystemError(-result))
  }

  // MARK: Machine

  package nonisolated var unownedExecutor: UnownedSerialExecutor {
    unsafe UnownedSerialExecutor(ordinary: self)
  }

  package private(set) var nowNanoseconds: UInt64

  package func readClock() -> UInt64 { Self.currentNanoseconds() }

  package func sleep(nanoseconds: UInt64) async {
    let (deadline, overflow) = Self.currentNanoseconds().addingReportingOverflow(nanoseconds)
    // Safe: the continuation is kept by the timer queue and resumed once.
    unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
      unsafe timers.add(waiter, deadlineNanoseconds: overflow ? .max : deadline)
    }
  }

  package func randomNumber() -> UInt64 { UInt64.random(in: .min ... .max) }

  // MARK: Executor

  package func enqueue(_ job: consuming ExecutorJob) {
    precondition(pthread_equal(loopThread, pthread_self()) != 0, "enqueued from another thread")
    ready.append(UnownedJob(job))
  }

  package func asUnownedSerialExecutor() -> UnownedSerialExecutor {
    unsafe UnownedSerialExecutor(ordinary: self)
  }

  package func checkIsolated() {
    precondition(pthread_equal(loopThread, pthread_self()) != 0, "not on the loop's thread")
  }

  package func isIsolatingCurrentContext() -> Bool? {
    pthread_equal(loopThread, pthread_self()) != 0
  }

  // MARK: Operations

  /// Suspends the caller until the kernel has finished the operation that `prepare` writes.
  ///
  /// - Parameter prepare: fills the entry, all but its `user_data`.
  /// - Returns: the completion's result: a count or a negated errno.
  @inline(__always)
  func submit(_ prepare: (RingEntry) -> Void) async -> Int32 {
    // Safe: the continuation is one pointer, kept by the entry alone and resumed once, by `reap`.
    unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Int32, Never>) in
      let entry = vacantEntry()
      prepare(entry)
      entry.identifier = unsafe UInt64(unsafeBitCast(waiter, to: UInt.self))
    }
  }

  /// The same for an operation on a disk.
  @inline(__always)
  func submitToDisk(_ prepare: (RingEntry) -> Void) async -> Int32 {
    await submit { entry in
      prepare(entry)
      newDiskEntryCount += 1
    }
  }

  /// Asks the kernel to cancel an operation; its own completion then says `ECANCELED`.
  ///
  /// - Parameter identifier: what the operation's entry was given, see `RingListener`.
  func cancel(identifier: UInt64) {
    let entry = vacantEntry()
    entry.cancel(identifier: identifier)
    // Nobody waits for the answer.
    entry.identifier = 0
  }

  func vacantEntry() -> RingEntry {
    if let entry = unsafe io_uring_get_sqe(ring) { return unsafe RingEntry(entry) }
    // Full: hand over what there is. The kernel takes it all unless it is out of memory.
    while true {
      let result = unsafe io_uring_submit(ring)
      loopCounters.enterCount += 1
      if let entry = unsafe io_uring_get_sqe(ring) { return unsafe RingEntry(entry) }
      precondition(
        result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY,
        "io_uring_submit: \(SystemError(-result))")
      if result < 0 { unsafe _ = io_uring_get_events(ring) }
    }
  }

  // MARK: The loop

  /// Runs `body` and everything it starts until it returns.
  ///
  /// - Returns: what `body` returned.
  package func run(_ body: @escaping @Sendable () async -> Int32) -> Int32 {
    checkIsolated()
    exitStatus = nil
    Task(executorPreference: self) {
      self.exitStatus = await body()
    }
    while true {
      runReadyJobs()
      if let exitStatus { return exitStatus }
      exchangeWithKernel()
      reap()
      nowNanoseconds = Self.currentNanoseconds()
      timers.resume(until: nowNanoseconds)
    }
  }

  private func runReadyJobs() {
    var left = Self.jobsPerTurnMax
    while left > 0, let job = ready.popFirst() {
      // Safe: each job is taken out of the queue once and run once.
      unsafe job.runSynchronously(
        isolatedTo: asUnownedSerialExecutor(), taskExecutor: asUnownedTaskExecutor())
      left -= 1
      if newDiskEntryCount >= Self.newDiskEntryCountMax { handOverNewEntries() }
    }
    loopCounters.jobCount += UInt64(Self.jobsPerTurnMax - left)
    loopCounters.turnCount += 1
  }

  /// Hands new entries to the kernel; waits for a completion when nothing else is to do.
  private func exchangeWithKernel() {
    guard ready.isEmpty else {
      enter(waitFor: 0)
      return
    }
    let now = Self.currentNanoseconds()
    // Whoever sleeps for less than the loop would poll wants the time, not the processor.
    let isShortSleep = (timers.earliestNanoseconds ?? .max) < now + SpinPolicy.windowNanoseconds
    if isShortSleep { return enter(waitFor: 1) }
    if spin.isSpinning {
      // With nothing to hand over and nothing held back, entering would find nothing.
      if hasNewEntries || taskWorkIsPending { enter(waitFor: 0) }
      if completionIsReady { return }
      let found = pollForCompletion()
      spin.recordPoll(wasInVain: !found)
      if found {
        if unsafe io_uring_cq_ready(ring) == 0 { enter(waitFor: 0) }
        return
      }
    }
    enter(waitFor: 1)
    spin.recordSleep(nanoseconds: Self.currentNanoseconds() - now)
  }

  private var hasNewEntries: Bool { unsafe io_uring_sq_ready(ring) > 0 }

  private var completionIsReady: Bool { unsafe io_uring_cq_ready(ring) > 0 }

  /// Whether the kernel holds completions back until the thread enters it.
  private var taskWorkIsPending: Bool {
    // Safe: the flags word is mapped for the life of the ring. The kernel sets bits in it at any
    // time, hence the atomic load; `Atomic<UInt32>` has the layout of a plain word.
    let flags = unsafe UnsafeRawPointer(ring.pointee.sq.kflags)
      .assumingMemoryBound(to: Atomic<UInt32>.self)
    return unsafe flags.pointee.load(ordering: .relaxed) & UInt32(IORING_SQ_TASKRUN) != 0
  }

  /// Polls without entering the kernel.
  ///
  /// - Returns: true as soon as a completion can be reaped.
  private func pollForCompletion() -> Bool {
    let end = Self.currentNanoseconds() + spin.budgetNanoseconds
    let timerEnd = timers.earliestNanoseconds ?? .max
    repeat {
      for _ in 0..<16 {
        if completionIsReady || taskWorkIsPending { return true }
        ashlar_pause()
      }
    } while Self.currentNanoseconds() < min(end, timerEnd)
    return false
  }

  /// Hands new entries to the kernel and runs what it held back; waits for `count` completions, but
  /// no longer than until the next sleeper's time.
  private func enter(waitFor count: UInt32) {
    loopCounters.enterCount += 1
    newDiskEntryCount = 0
    guard count > 0 else { return Self.check(unsafe io_uring_submit_and_get_events(ring)) }
    guard var timeout = timeUntilNextTimer() else {
      return Self.check(unsafe io_uring_submit_and_wait(ring, count))
    }
    var first: UnsafeMutablePointer<io_uring_cqe>?
    // Safe: both live until the call returns.
    Self.check(unsafe io_uring_submit_and_wait_timeout(ring, &first, count, &timeout, nil))
  }

  /// Hands new entries to the kernel and does nothing else.
  private func handOverNewEntries() {
    loopCounters.enterCount += 1
    newDiskEntryCount = 0
    Self.check(unsafe io_uring_submit(ring))
  }

  private func timeUntilNextTimer() -> __kernel_timespec? {
    guard let earliest = timers.earliestNanoseconds else { return nil }
    let now = Self.currentNanoseconds()
    let left = earliest > now ? earliest - now : 0
    return __kernel_timespec(
      tv_sec: Int64(left / 1_000_000_000), tv_nsec: Int64(left % 1_000_000_000))
  }

  private static func check(_ result: Int32) {
    // What was not submitted stays in the queue for the next turn.
    let isHarmless =
      result == -EINTR || result == -EAGAIN || result == -EBUSY || result == -ETIME
    precondition(result >= 0 || isHarmless, "io_uring_enter: \(SystemError(-result))")
  }

  /// Resumes the task behind every completion.
  private func reap() {
    while true {
      let count = unsafe io_uring_peek_batch_cqe(ring, completions, UInt32(Self.completionBatch))
      guard count > 0 else { return }
      for index in 0..<Int(count) {
        guard let completion = unsafe completions[index]?.pointee else { continue }
        guard let address = UInt(exactly: completion.user_data), address != 0 else { continue }
        // Safe: `submit` put this continuation there, and each operation completes once.
        let waiter = unsafe unsafeBitCast(address, to: UnsafeContinuation<Int32, Never>.self)
        unsafe waiter.resume(returning: completion.res)
      }
      unsafe io_uring_cq_advance(ring, count)
      loopCounters.completionCount += UInt64(count)
      if count < Self.completionBatch { return }
    }
  }

  private static func currentNanoseconds() -> UInt64 {
    var time = timespec()
    // Safe: `time` lives until the call returns.
    let result = unsafe clock_gettime(CLOCK_BOOTTIME, &time)
    precondition(result == 0, "no CLOCK_BOOTTIME")
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}

/// Why there is no ring.
package enum RingError: Error, Equatable, Sendable {
  case unavailable(SystemError)

  /// What happened and what to do, for an operator.
  package var explanation: String {
    switch self {
    case .unavailable(let error) where error.number == EPERM:
      "the kernel forbids io_uring (\(error)). Set 'sysctl kernel.io_uring_disabled=0', or allow "
        + "io_uring_setup in the container's seccomp profile."
    case .unavailable(let error) where error.number == ENOSYS || error.number == EINVAL:
      "the kernel has no io_uring that Ashlar can use (\(error)). Linux 6.1 or newer is needed."
    case .unavailable(let error) where error.number == ENOMEM:
      "no memory may be locked for io_uring (\(error)). Raise 'ulimit -l' or LimitMEMLOCK=."
    case .unavailable(let error):
      "io_uring cannot be set up (\(error))."
    }
  }
}
