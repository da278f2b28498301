/// What one operation of a job does.
package enum OperationKind: Int, CaseIterable, Sendable {
  case read, write, trim
}

/// Decides for each operation of a job whether it reads, writes or trims.
///
/// A mixed job draws for each operation, as fio does: `rwmixread=70` comes to 70 of 100 in the
/// long run, and runs of one kind have the lengths that chance gives them.
package struct OperationMix: Sendable {
  private let workload: Workload
  private let readPercent: UInt64
  private var random: RandomSequence

  /// - Precondition: `readPercent` is from 0 to 100.
  package init(_ workload: Workload, readPercent: Int, seed: UInt64) {
    precondition((0...100).contains(readPercent))
    self.workload = workload
    self.readPercent = UInt64(readPercent)
    random = RandomSequence(seed: RandomSequence.derivedSeed(seed, 0x6d69_78))
  }

  /// The kind of the next operation.
  package mutating func next() -> OperationKind {
    switch workload {
    case .read, .randread: .read
    case .write, .randwrite: .write
    case .trim, .randtrim: .trim
    case .rw, .randrw: random.next(below: 100) < readPercent ? .read : .write
    }
  }
}
