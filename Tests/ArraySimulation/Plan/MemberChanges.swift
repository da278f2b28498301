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
    // As many as a life has commands: whatever they take, a slot that was emptied finds somebody.
    plan.extraCount = isActive ? 3 : 0
    mediumCount = plan.shape.memberCount + plan.extraCount
    guard isActive, random.coin() else { return }
    plan.options.spareDelayNanoseconds = random.next(below: 1 << 33)
  }

  /// Draws commands for a life.
  mutating func add(to life: inout LifePlan, mayFail: [Int]) {
    guard isActive else { return }
    let commands = random.index(below: 3) == 0 ? drawRow(mayFail) : drawAny(mayFail)
    for command in commands {
      let time = random.next(below: 1 << (8 + random.next(below: 17)))
      life.commands.append(LifePlan.TimedCommand(afterNanoseconds: time, command: command))
    }
  }

  private mutating func drawAny(_ mayFail: [Int]) -> [LifePlan.MemberCommand] {
    (0..<random.index(below: 4)).map { _ in draw(mayFail) }
  }

  /// What leads to a new member in a slot, one way or the other.
  private mutating func drawRow(_ mayFail: [Int]) -> [LifePlan.MemberCommand] {
    let choice = random.index(below: mediumCount)
    guard !mayFail.isEmpty else { return [.add(choice: choice)] }
    let medium = mayFail[random.index(below: mayFail.count)]
    return switch random.index(below: 4) {
    case 0: [.add(choice: choice), .fail(medium: medium)]
    case 1: [.fail(medium: medium), .add(choice: choice)]
    case 2: [.fail(medium: medium), .remove(medium: medium), .add(choice: choice)]
    default: [.replace(medium: medium, choice: choice), .fail(medium: medium)]
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
