import DiskFormat
package import Geometry
package import RAID
import Simulator

/// A short workload on a small array, and every crash of it.
///
/// All sequences of up to three requests over the kinds that take different ways through the
/// array; the array holds data before, so that there is something to lose.
package struct ShortWorkload: Sendable {
  /// The kinds.
  enum Step: Int, CaseIterable {
    case write
    /// Shares some sectors with `write`.
    case overlappingWrite
    case wholeStripe
    /// Longer than what is atomic, with whole rows in its middle.
    case long
    case flush
    case durableWrite
    case trim
    case writeZeroes
  }

  /// Sequences of one, two and three steps.
  static let sequenceCount = stepCount + stepCount * stepCount + stepCount * stepCount * stepCount
  private static let stepCount = Step.allCases.count
  /// So many seeds are all sequences on all levels; the next as many draw other schedules.
  package static let seedCount = UInt64(sequenceCount * RAIDLevel.allCases.count)

  package let seed: UInt64
  package let shape: ArrayShape
  let options: ArrayOptions
  let requests: [ClientRequest]
  private let redundancy: Int

  package init(
    of system: any SystemUnderTest, seed: UInt64, level fixed: RAIDLevel?,
    plantedBug: PlantedBug?
  ) {
    self.seed = seed
    let levels = RAIDLevel.allCases
    let level = fixed ?? levels[Int(seed % UInt64(levels.count))]
    let position = fixed == nil ? seed / UInt64(levels.count) : seed
    shape = Self.shape(of: level)
    redundancy = system.redundancy(of: shape)
    requests = Self.requests(Self.sequence(Int(position % UInt64(Self.sequenceCount))), shape)
    var options = ArrayOptions()
    options.plantedBug = plantedBug
    // Every second time around.
    options.logPolicy = position / UInt64(Self.sequenceCount) % 2 == 0 ? .auto : .full
    options.memberDeadlineNanoseconds = 2_000_000_000
    // All that happens later happens soon.
    options.destageDelayNanoseconds = 300_000
    options.sealDelayNanoseconds = 200_000
    self.options = options
  }

  private static func shape(of level: RAIDLevel) -> ArrayShape {
    do throws(GeometryError) {
      return try ArrayShape(
        level: level, memberCount: level == .raid10 ? 3 : level.memberCountMin, chunkBytes: 4096,
        // The long request fits in.
        memberBlockCount: level == .raid1 ? 20 : level == .raid10 ? 14 : 10, logBytes: 1 << 20)
    } catch {
      preconditionFailure("the shape of short workloads is impossible: \(error)")
    }
  }

  private static func sequence(_ number: Int) -> [Step] {
    let steps = Step.allCases
    let count = steps.count
    if number < count { return [steps[number]] }
    if number < count + count * count {
      return [steps[(number - count) / count], steps[(number - count) % count]]
    }
    let rest = number - count - count * count
    return [steps[rest / (count * count)], steps[rest / count % count], steps[rest % count]]
  }

  private static func requests(_ steps: [Step], _ shape: ArrayShape) -> [ClientRequest] {
    let stripe = min(Int(shape.stripeBytes / 512), shape.sectorCount)
    return steps.map { step in
      switch step {
      case .write: .write(8..<20, durably: false)
      case .overlappingWrite: .write(13..<27, durably: false)
      case .wholeStripe: .write(0..<stripe, durably: false)
      case .long: .write(12..<12 + 136, durably: false)
      case .flush: .flush
      case .durableWrite: .write(16..<24, durably: true)
      case .trim: .trim(5..<24, durably: false)
      case .writeZeroes: .zero(10..<22, keepAllocated: false, durably: false)
      }
    }
  }

  // MARK: Its histories

  /// The history of a case; without one, the workload as it goes when nothing happens.
  package func plan(_ crash: CrashCase?) -> HistoryPlan {
    var before = LifePlan()
    before.workload = .script(
      stride(from: 0, to: shape.sectorCount, by: 128).map {
        .write($0..<min($0 + 128, shape.sectorCount), durably: false)
      })
    before.idleNanoseconds = 2_000_000
    var life = LifePlan()
    life.workload = .script(requests)
    life.idleNanoseconds = 4_000_000
    var lives = [before]
    if let crash {
      life.ending = .crash(crash.kind, .operation(crash.operation))
      life.fates = crash.fates(memberCount: shape.memberCount)
      lives.append(life)
      for operation in crash.recoveryOperations {
        var recovery = LifePlan()
        recovery.absent = Set(crash.lost)
        recovery.ending = .crash(crash.kind, .operation(operation))
        recovery.fates = life.fates
        lives.append(recovery)
      }
      var degraded = LifePlan()
      degraded.absent = Set(crash.lost)
      degraded.verifiesFirst = true
      // The power goes again before anything else happens: what was read must stay.
      degraded.ending = .crash(.powerLoss, .atEnd)
      lives.append(degraded)
    } else {
      lives.append(life)
    }
    var last = LifePlan()
    last.verifiesFirst = true
    last.waitsUntilOptimal = true
    lives.append(last)
    return HistoryPlan(seed: seed, shape: shape, options: options, lives: lives)
  }

  /// The place of the life with the workload among the plan's.
  package static let workloadLife = 1
  /// The place of the first recovery.
  package static let recoveryLife = 2

  /// Every crash while an operation is in flight, with the recoveries still undisturbed.
  package func crashes(operationCount: Int) -> [CrashCase] {
    var cases: [CrashCase] = []
    guard operationCount > 0 else { return [] }
    var fates: [CrashCase.Fate] = [.all(.keepAll), .all(.loseAll), .all(.drawn)]
    for slot in 0..<shape.memberCount {
      for index in 0..<4 {
        fates.append(.one(slot: slot, .missing(index), othersKeep: true))
        fates.append(.one(slot: slot, .alone(index), othersKeep: false))
      }
      fates.append(.one(slot: slot, .drawn, othersKeep: true))
      fates.append(.one(slot: slot, .drawn, othersKeep: false))
    }
    for operation in 1...operationCount {
      for lost in lostSets() {
        cases.append(
          CrashCase(operation: operation, kind: .kill, fate: .all(.keepAll), lost: lost))
        for fate in fates {
          cases.append(
            CrashCase(operation: operation, kind: .powerLoss, fate: fate, lost: lost))
        }
      }
    }
    return cases
  }

  /// All sets of members that may be lost.
  private func lostSets() -> [[Int]] {
    var sets: [[Int]] = [[]]
    for _ in 0..<redundancy {
      for set in sets {
        for slot in ((set.last ?? -1) + 1)..<shape.memberCount {
          let larger = set + [slot]
          if !sets.contains(larger) { sets.append(larger) }
        }
      }
    }
    return sets
  }
}
