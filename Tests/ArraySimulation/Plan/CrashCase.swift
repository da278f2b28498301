package import Simulator

/// One crash of a short workload, of all that are possible: which operation was in flight, what
/// the power loss left, who was lost, and where the recovery crashed again.
package struct CrashCase: Equatable, Sendable {
  /// Counted from the start of the life with the workload.
  package var operation: Int
  package var kind: CrashKind
  package var fate: Fate
  package var lost: [Int]
  /// Operations of one recovery after the other.
  package var recoveryOperations: [Int] = []

  /// What a power loss leaves.
  package enum Fate: Equatable, Sendable {
    case all(FateChoice)
    /// This on one member; the others keep all or lose all.
    case one(slot: Int, FateChoice, othersKeep: Bool)
  }

  package init(operation: Int, kind: CrashKind, fate: Fate, lost: [Int]) {
    self.operation = operation
    self.kind = kind
    self.fate = fate
    self.lost = lost
  }

  func fates(memberCount: Int) -> [Int: FateChoice] {
    var fates: [Int: FateChoice] = [:]
    for slot in 0..<memberCount {
      switch fate {
      case .all(let choice): fates[slot] = choice
      case .one(let one, let choice, let othersKeep):
        fates[slot] = slot == one ? choice : othersKeep ? .keepAll : .loseAll
      }
    }
    return fates
  }
}

// On the command line: `OPERATION,KIND,FATE,LOST,RECOVERY...`, as in `17,power,missing:2:0,1+3,5`.
extension CrashCase: CustomStringConvertible {
  package var description: String {
    let lostText = lost.isEmpty ? "none" : lost.map(String.init).joined(separator: "+")
    let words = [
      String(operation), kind == .kill ? "kill" : "power", "\(fate)", lostText,
    ]
    return (words + recoveryOperations.map(String.init)).joined(separator: ",")
  }

  /// Understands what `description` wrote.
  package init?(_ text: String) {
    let words = text.split(separator: ",").map(String.init)
    guard words.count >= 4, let operation = Int(words[0]), let fate = Fate(words[2]) else {
      return nil
    }
    let numbers = words[3] == "none" ? [] : words[3].split(separator: "+").map { Int($0) }
    let recoveries = words.dropFirst(4).map { Int($0) }
    let lost = numbers.compactMap(\.self)
    let kind: CrashKind = words[1] == "kill" ? .kill : .powerLoss
    self.init(operation: operation, kind: kind, fate: fate, lost: lost)
    recoveryOperations = recoveries.compactMap(\.self)
    guard lost.count == numbers.count, recoveryOperations.count == recoveries.count else {
      return nil
    }
  }
}

extension CrashCase.Fate: CustomStringConvertible {
  package var description: String {
    switch self {
    case .all(.keepAll): "keep"
    case .all(.loseAll): "lose"
    case .all: "drawn"
    case .one(let slot, .missing(let index), _): "missing:\(slot):\(index)"
    case .one(let slot, .alone(let index), _): "alone:\(slot):\(index)"
    case .one(let slot, _, let othersKeep): "drawn:\(slot):\(othersKeep ? 1 : 0)"
    }
  }

  init?(_ text: String) {
    let words = text.split(separator: ":").map(String.init)
    switch (words.first, words.count) {
    case ("keep", 1): self = .all(.keepAll)
    case ("lose", 1): self = .all(.loseAll)
    case ("drawn", 1): self = .all(.drawn)
    case (let word?, 3):
      guard let slot = Int(words[1]), let number = Int(words[2]) else { return nil }
      switch word {
      case "missing": self = .one(slot: slot, .missing(number), othersKeep: true)
      case "alone": self = .one(slot: slot, .alone(number), othersKeep: false)
      case "drawn": self = .one(slot: slot, .drawn, othersKeep: number == 1)
      default: return nil
      }
    default: return nil
    }
  }
}
