import DiskFormat
import IO

/// Reads members' superblocks without waiting for those that do not answer (promise P9).
///
/// Members that are not in use yet have no lanes and no deadlines; each is asked by a task of its
/// own here, and one that hangs keeps only that task.
actor MemberProbe<M: Machine, D: Disk> {
  private let machine: M
  nonisolated var unownedExecutor: UnownedSerialExecutor {
    // Safe: the actor keeps its machine.
    unsafe machine.unownedExecutor
  }
  private var reports: [MemberReport?] = []
  private var pendingCount = 0
  private var isLate = false
  private var rest = WaitPoint()
  private var lateWaiters: [WaitPoint] = []

  init(_ machine: M) {
    self.machine = machine
  }

  /// Asks all members at once.
  ///
  /// - Returns: by member; nil for those that have not answered in time.
  func ask(
    _ members: [MemberHandle<D>], withinNanoseconds limit: UInt64
  ) async -> [MemberReport?] {
    precondition(pendingCount == 0)
    reports = Array(repeating: nil, count: members.count)
    isLate = false
    pendingCount = members.count
    let machine = machine
    for (index, member) in members.enumerated() {
      Task(executorPreference: machine) { await self.ask(index, member) }
    }
    Task(executorPreference: machine) { await self.limit(limit) }
    while pendingCount > 0, !isLate {
      // Safe: resumed once, by the last answer or the limit, or here.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        if pendingCount == 0 || isLate { unsafe waiter.resume() } else { unsafe rest.put(waiter) }
      }
    }
    return reports
  }

  private func ask(_ index: Int, _ member: MemberHandle<D>) async {
    let report = await MemberReport.read(member)
    reports[index] = report
    pendingCount -= 1
    if pendingCount == 0 { rest.signal() }
    let waiting = lateWaiters
    lateWaiters = []
    for var point in waiting { point.signal() }
  }

  /// Waits for the answer of one that did not answer in time.
  func answer(_ index: Int) async -> MemberReport {
    while true {
      if let report = reports[index] { return report }
      // Safe: resumed once, by the next answer, or here.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        if reports[index] != nil { return unsafe waiter.resume() }
        var point = WaitPoint()
        unsafe point.put(waiter)
        lateWaiters.append(point)
      }
    }
  }

  private func limit(_ nanoseconds: UInt64) async {
    await machine.sleep(nanoseconds: nanoseconds)
    isLate = true
    rest.signal()
  }
}
