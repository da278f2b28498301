import RAID
import Simulator

/// What an operator does about members in a random history, in one of three.
///
/// Drawn from a source of its own, so that histories without it are what they were. Only members
/// that may fail are taken out; any may be replaced, because whoever is keeps serving until its copy
/// is complete, and devices that are added are sound.
struct MemberChanges {
  private var random: RandomSource
  private let mediumCount: Int
  private let isActive: Bool

  init(_ plan: inout HistoryPlan) {
    random = RandomSource(seed: plan.seed ^ 0x5EA7)
    isActive = random.index(below: 3) == 0
    plan.extraCount = isActive ? 2 : 0
    mediumCount = plan.shape.memberCount + plan.extraCount
    guard isActive, random.coin() else { return }
    plan.options.spareDelayNanoseconds = random.next(below: 1 << 33)
  }

  /// Draws commands for a life.
  mutating func add(to life: inout LifePlan, mayFail: [Int]) {
    guard isActive else { return }
    for _ in 0..<random.index(below: 4) {
      let time = random.next(below: 1 << (12 + random.next(below: 14)))
      life.commands.append(
        LifePlan.TimedCommand(afterNanoseconds: time, command: draw(mayFail)))
    }
  }

  private mutating func draw(_ mayFail: [Int]) -> LifePlan.MemberCommand {
    let choice = random.index(below: mediumCount)
    let medium = random.index(below: mediumCount)
    switch random.index(below: 6) {
    case 0, 1: return .replace(medium: medium, choice: choice)
    case 2: return .add(choice: choice)
    case 3: return .remove(medium: medium)
    default:
      guard !mayFail.isEmpty else { return .add(choice: choice) }
      return .fail(medium: mayFail[random.index(below: mayFail.count)])
    }
  }
}
