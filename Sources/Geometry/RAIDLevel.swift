/// How blocks are spread and protected.
package enum RAIDLevel: UInt8, CaseIterable, Sendable {
  case raid0 = 0
  case raid1 = 1
  case raid5 = 5
  case raid6 = 6
  case raid10 = 10

  /// The name that users write: `raid5`.
  package var name: String { "raid\(rawValue)" }

  /// Understands `raid5` and `5`.
  package init?(name: String) {
    let match = Self.allCases.first { $0.name == name || String($0.rawValue) == name }
    guard let match else { return nil }
    self = match
  }

  /// The fewest members that make sense.
  package var memberCountMin: Int {
    switch self {
    case .raid0, .raid1, .raid10: 2
    case .raid5: 3
    case .raid6: 4
    }
  }
}
