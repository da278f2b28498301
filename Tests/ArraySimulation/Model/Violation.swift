/// A promise that was broken, and the evidence.
package struct Violation: Error, Equatable, Sendable, CustomStringConvertible {
  /// Which promise, as far as the evidence tells.
  package enum Rule: String, Sendable {
    /// An acknowledged write did not survive `kill -9`.
    case survivesKill = "P1"
    /// A flushed write did not survive power loss.
    case survivesPowerLoss = "P2"
    /// A read returned what the sector cannot hold, or failed although nothing excuses it.
    case rightOrError = "P4"
    /// A sector changed that nobody was writing.
    case unwrittenUnchanged = "P5"
    /// A request is there in part.
    case atomic = "P6"
    /// A request was not answered in time.
    case answersInTime = "P9"
    /// What a read had returned was gone after a crash.
    case seenStays = "R1"
    /// The log counts more client records than clients can have caused.
    case countsClients = "L8"
    /// Redundancy was not restored, members do not agree, or a start was refused.
    case becomesWhole = "T8"
  }

  package let rule: Rule
  /// The sector of 512 bytes it was seen in; nil when it is not about one.
  package let sector: Int?
  package let text: String

  package init(_ rule: Rule, sector: Int? = nil, _ text: String) {
    self.rule = rule
    self.sector = sector
    self.text = text
  }

  package var description: String {
    guard let sector else { return "\(rule.rawValue): \(text)" }
    return "\(rule.rawValue): sector \(sector) (block \(sector / 8)): \(text)"
  }
}
