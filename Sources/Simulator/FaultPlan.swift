/// What an operation may be, for a plan that fails one kind only.
package enum OperationKind: Int, CaseIterable, Sendable {
  case read
  case write
  case synchronize
  case clear
  case prefetch
  case extent
  case accept
  case connect
  case receive
  case send
}

/// What a planned fault does to its operation.
package enum InjectedResult: Equatable, Sendable {
  /// It fails with this errno (positive). Of a write, any part may have happened, except with
  /// EINTR, EAGAIN and ENOSPC, which mean that nothing did.
  case failure(Int32)
  /// It moves about half of what was asked, in whole alignment units; all, where it is one unit.
  case short
  /// It moves at most so many bytes, aligned or not; 0 is the end of a file or stream.
  case count(Int)
  /// It does not return until the disk is released; only disks get stuck.
  case stuck
  /// The machine crashes while it is in flight.
  case crash(CrashKind)
}

/// Fails operations by number: the N-th of all, or of one kind.
///
/// Count N up from 1 until a run meets no failure (`hitCount == 0`), and every operation of the
/// workload has failed once.
package final class FaultPlan: @unchecked Sendable {
  private struct Rule {
    let number: Int
    let kind: OperationKind?
    let result: InjectedResult
    let isPersistent: Bool
  }

  /// How many operations have begun.
  package private(set) var operationCount = 0
  /// How many of them the plan has failed.
  package private(set) var hitCount = 0
  private var countByKind = [Int](repeating: 0, count: OperationKind.allCases.count)
  private var rules: [Rule] = []

  init() {}

  /// Fails the operation of this number, counted from 1 since the machine was made.
  ///
  /// With a `kind` only its operations count. With `persistently` all that follow fail as well.
  package func fail(
    operation number: Int, of kind: OperationKind? = nil, with result: InjectedResult,
    persistently: Bool = false
  ) {
    precondition(number > 0)
    rules.append(Rule(number: number, kind: kind, result: result, isPersistent: persistently))
  }

  /// Plans no further failure.
  package func removeAll() { rules = [] }

  /// How many operations of a kind have begun.
  package func count(of kind: OperationKind) -> Int { countByKind[kind.rawValue] }

  /// Counts an operation that begins, and tells its fault.
  func begin(_ kind: OperationKind) -> InjectedResult? {
    operationCount += 1
    countByKind[kind.rawValue] += 1
    guard !rules.isEmpty else { return nil }
    for rule in rules where rule.kind == nil || rule.kind == kind {
      let count = rule.kind == nil ? operationCount : countByKind[kind.rawValue]
      if count == rule.number || (rule.isPersistent && count > rule.number) {
        hitCount += 1
        return rule.result
      }
    }
    return nil
  }
}
