/// Reads and writes durations the way operators type them, in nanoseconds.
///
/// Accepted: a number and a unit, blanks between them allowed: `10s`, `500ms`, `2m`, `1.5h`. Units
/// are `ns us ms s m h d` (`min` too). A number without a unit is refused: what one program takes
/// for seconds another takes for milliseconds. The one exception is a plain `0`.
package enum TimeSpan {
  private static let units: [(name: String, nanoseconds: UInt64)] = [
    ("ns", 1), ("us", 1000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000),
    ("min", 60_000_000_000), ("h", 3_600_000_000_000), ("d", 86_400_000_000_000),
  ]

  /// The nanoseconds that `text` stands for.
  ///
  /// - Throws: `QuantityError`, whose description completes the sentence "'TEXT' ...".
  package static func parse(_ text: String) throws(QuantityError) -> UInt64 {
    let (number, unit) = try DecimalNumber.split(text)
    if unit.isEmpty {
      guard number.text == "0" else { throw .missingUnit(suggestion: "\(number.text)s") }
      return 0
    }
    guard let known = units.first(where: { $0.name == unit }) else {
      throw .unknownUnit(unit, known: "ns, us, ms, s, m, h or d")
    }
    return try number.scaled(by: known.nanoseconds, unit: "nanoseconds")
  }

  /// Three significant digits, for latencies: `850 ns`, `12.3 us`, `1.05 ms`, `30 s`.
  package static func format(nanoseconds: UInt64) -> String {
    if nanoseconds < 1000 { return "\(nanoseconds) ns" }
    for (name, unit) in [("us", UInt64(1000)), ("ms", 1_000_000), ("s", 1_000_000_000)] {
      // Whatever would round to 1000 of a unit is written in the next.
      if let text = threeDigits(nanoseconds, unit) { return "\(text) \(name)" }
    }
    return formatUptime(nanoseconds: nanoseconds)
  }

  /// The two largest units, cut off below: `3 d 4 h`, `2 h 5 min`, `1 min 30 s`, `42 s`.
  package static func formatUptime(nanoseconds: UInt64) -> String {
    let seconds = nanoseconds / 1_000_000_000
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60)
    if days > 0 { return "\(days) d \(hours) h" }
    if hours > 0 { return "\(hours) h \(minutes) min" }
    if minutes > 0 { return "\(minutes) min \(seconds % 60) s" }
    return "\(seconds) s"
  }

  /// - Returns: nil when the value rounds to 1000 units or more.
  private static func threeDigits(_ nanoseconds: UInt64, _ unit: UInt64) -> String? {
    guard nanoseconds / unit < 1000 else { return nil }
    for decimals in [UInt64(100), 10, 1] {
      // Below 1000 units, a hundred times the value fits easily.
      let scaled = (nanoseconds * decimals + unit / 2) / unit
      guard scaled < 1000 else { continue }
      return decimalText(scaled, decimals)
    }
    return nil
  }

  /// `scaled / decimals` without trailing zeros.
  private static func decimalText(_ scaled: UInt64, _ decimals: UInt64) -> String {
    let whole = scaled / decimals
    let rest = scaled % decimals
    guard rest > 0 else { return "\(whole)" }
    if decimals == 10 { return "\(whole).\(rest)" }
    if rest % 10 == 0 { return "\(whole).\(rest / 10)" }
    return rest < 10 ? "\(whole).0\(rest)" : "\(whole).\(rest)"
  }
}
