import IO

/// Operations on members whose end one task waits for.
///
/// Submit to it through `MemberSet`, as many as needed on as many members, then `wait`. It is used
/// again after `reset`. One task waits at a time.
package final class OperationGroup {
  package private(set) var submittedCount = 0
  package private(set) var completedCount = 0
  /// What was not done, in the order in which it became known.
  package private(set) var failures: [OperationFailure] = []
  /// The tags below `tagCount` of what was done, as bits.
  private var succeededTags = SIMD4<UInt64>.zero

  private var rest = WaitPoint()
  /// The waiter is resumed when so many have completed.
  private var awaitedCount = 0
  private(set) var deadlineNanoseconds: UInt64 = .max
  private var hasExpired = false
  private var timers: OperationTimers?
  /// Where it goes when its last operation has completed, if its owner has let it go before.
  private var home: OperationGroupPool?

  package init() {}

  /// Operations whose outcome is not known.
  package var pendingCount: Int { submittedCount - completedCount }

  /// Operations with tags below it are told apart by `hasSucceeded`.
  package static var tagCount: Int { 256 }

  /// Whether the operation that was submitted under this tag, below `tagCount`, has been done.
  package func hasSucceeded(_ tag: Int) -> Bool {
    precondition(tag >= 0 && tag < Self.tagCount)
    return succeededTags[tag / 64] & (1 << UInt64(tag % 64)) != 0
  }

  /// How many tags have succeeded.
  package var succeededTagCount: Int {
    (0..<4).reduce(0) { $0 + succeededTags[$1].nonzeroBitCount }
  }

  // MARK: Waiting

  /// Waits until every operation has completed; then `failures` tells what was not done.
  package func wait() async {
    while pendingCount > 0 { await rest(until: submittedCount, deadlineNanoseconds: .max) }
  }

  /// Waits until every operation has completed, or until `interrupt`.
  package func waitUnlessInterrupted() async {
    guard pendingCount > 0 else { return }
    await rest(until: submittedCount, deadlineNanoseconds: .max)
  }

  /// Ends the wait of `waitUnlessInterrupted`; the others go on waiting.
  package func interrupt() { rest.signal() }

  /// Waits for one more operation than had completed at `count`, or for all.
  package func wait(forMoreThan count: Int) async {
    while completedCount <= count, pendingCount > 0 {
      await rest(until: count + 1, deadlineNanoseconds: .max)
    }
  }

  /// Waits until every operation has completed, but not much longer than `nanoseconds`.
  ///
  /// - Returns: false when the time has passed first; the operations go on.
  package func wait(forNanoseconds nanoseconds: UInt64) async -> Bool {
    guard pendingCount > 0 else { return true }
    guard let timers else { preconditionFailure("a group without operations has no clock") }
    let (end, overflow) = timers.now.addingReportingOverflow(nanoseconds)
    let deadline = overflow ? UInt64.max : end
    while pendingCount > 0 {
      await rest(until: submittedCount, deadlineNanoseconds: deadline)
      if hasExpired { return pendingCount == 0 }
    }
    return true
  }

  private func rest(until count: Int, deadlineNanoseconds deadline: UInt64) async {
    hasExpired = false
    // Safe: resumed once, by `operationEnded`, `expire`, or here: others may have run meanwhile.
    unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
      if completedCount >= count {
        unsafe waiter.resume()
        return
      }
      awaitedCount = count
      unsafe rest.put(waiter)
      guard deadline != .max else { return }
      deadlineNanoseconds = deadline
      timers?.add(self)
    }
    if deadlineNanoseconds != .max {
      deadlineNanoseconds = .max
      timers?.remove(self)
    }
  }

  /// The time of the waiter has passed.
  func expire() {
    hasExpired = true
    rest.signal()
  }

  // MARK: For members

  func operationSubmitted(_ timers: OperationTimers) {
    precondition(home == nil, "a group is used after it was let go")
    submittedCount += 1
    if self.timers == nil { self.timers = timers }
  }

  func operationEnded(tag: Int, _ failure: OperationFailure?) {
    precondition(pendingCount > 0)
    completedCount += 1
    if let failure {
      failures.append(failure)
    } else if tag >= 0, tag < Self.tagCount {
      succeededTags[tag / 64] |= 1 << UInt64(tag % 64)
    }
    if completedCount >= awaitedCount { rest.signal() }
    guard pendingCount == 0, let home else { return }
    self.home = nil
    home.give(self)
  }

  // MARK: Using again

  /// Forgets what it was used for.
  ///
  /// - Precondition: nothing is pending.
  package func reset() {
    precondition(pendingCount == 0, "a group is reset while operations are pending")
    submittedCount = 0
    completedCount = 0
    awaitedCount = 0
    succeededTags = .zero
    failures.removeAll(keepingCapacity: true)
  }

  func letGo(to pool: OperationGroupPool) {
    precondition(!rest.isWaitedFor, "a group is let go while somebody waits for it")
    precondition(home == nil, "a group is let go twice")
    if pendingCount == 0 { pool.give(self) } else { home = pool }
  }
}

/// Groups that lie idle.
final class OperationGroupPool {
  private var idle: [OperationGroup] = []

  func take() -> OperationGroup { idle.popLast() ?? OperationGroup() }

  func give(_ group: OperationGroup) {
    group.reset()
    idle.append(group)
  }
}

/// The clock of those who wait for a limited time, and the rest of the ticker that serves them.
final class OperationTimers {
  private let machine: any Machine
  private var groups: [OperationGroup] = []
  var tickerRest = WaitPoint()

  init(_ machine: any Machine) {
    self.machine = machine
  }

  var now: UInt64 { machine.nowNanoseconds }
  var isEmpty: Bool { groups.isEmpty }

  /// The first time at which somebody no longer waits.
  var firstNanoseconds: UInt64? { groups.lazy.map(\.deadlineNanoseconds).min() }

  func add(_ group: OperationGroup) {
    groups.append(group)
    tickerRest.signal()
  }

  func remove(_ group: OperationGroup) {
    guard let index = groups.firstIndex(where: { $0 === group }) else { return }
    groups.swapAt(index, groups.count - 1)
    groups.removeLast()
  }

  /// Resumes those whose time has passed.
  func expire(_ now: UInt64) {
    for group in groups where group.deadlineNanoseconds <= now { group.expire() }
  }
}
