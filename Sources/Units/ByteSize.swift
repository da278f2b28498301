/// Reads and writes sizes in bytes the way operators type them.
///
/// Accepted: a number and an optional unit, blanks between them allowed: `512`, `512B`, `4k`,
/// `64KiB`, `10G`, `1.5g`. Units are `k M G T P E`, in either case, alone or followed by `iB`,
/// and always binary: `4k` is 4096. `kB`, `MB`, ... are refused, because half the world means
/// powers of ten by them. A fraction is accepted when it comes to whole bytes: `1.5k` is 1536,
/// `0.3k` is refused.
package enum ByteSize {
  private static let units: [(letter: Character, shift: UInt64)] = [
    ("k", 10), ("m", 20), ("g", 30), ("t", 40), ("p", 50), ("e", 60),
  ]

  /// The bytes that `text` stands for.
  ///
  /// - Throws: `QuantityError`, whose description completes the sentence "'TEXT' ...".
  package static func parse(_ text: String) throws(QuantityError) -> UInt64 {
    let (number, unit) = try DecimalNumber.split(text)
    return try number.scaled(by: multiplier(of: unit, number: number.text), unit: "bytes")
  }

  private static func multiplier(of unit: String, number: String) throws(QuantityError) -> UInt64 {
    let lowered = unit.lowercased()
    if lowered.isEmpty || lowered == "b" { return 1 }
    guard let known = units.first(where: { $0.letter == lowered.first }) else {
      throw .unknownUnit(unit, known: knownUnits)
    }
    switch lowered.dropFirst() {
    case "", "ib": return 1 << known.shift
    case "b":
      let letter = known.letter.uppercased()
      throw .ambiguousUnit(unit, suggestion: "\(number)\(letter)iB")
    default: throw .unknownUnit(unit, known: knownUnits)
    }
  }

  private static let knownUnits = "k, M, G, T, P, E or KiB, MiB, ... (powers of 1024)"

  /// For example `64 MiB`, `1.5 GiB`, `512 B`: three digits or so, for people.
  ///
  /// Rounded to one decimal place below 100 units, to none from there on.
  package static func format(_ byteCount: UInt64) -> String {
    guard byteCount >= 1024 else { return "\(byteCount) B" }
    let names = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    var index = min((63 - byteCount.leadingZeroBitCount) / 10, names.count)
    // What would round to 1024 KiB is 1 MiB.
    if rounded(byteCount, in: index, parts: 1) >= 1024, index < names.count { index += 1 }
    let tenths = rounded(byteCount, in: index, parts: 10)
    let text =
      tenths >= 1000
      ? "\(rounded(byteCount, in: index, parts: 1))"
      : tenths % 10 == 0 ? "\(tenths / 10)" : "\(tenths / 10).\(tenths % 10)"
    return "\(text) \(names[index - 1])"
  }

  /// `byteCount` in `1 / parts` of the unit `1024^index`, rounded to the nearest.
  private static func rounded(_ byteCount: UInt64, in index: Int, parts: UInt64) -> UInt64 {
    let unit = UInt64(1) << UInt64(10 * index)
    // The rest is below 2^60, so ten times it fits.
    return byteCount / unit * parts + (byteCount % unit * parts + unit / 2) / unit
  }

  /// The exact form that `parse` reads back, with the largest unit that divides it: `64M`, `513`.
  package static func formatExactly(_ byteCount: UInt64) -> String {
    guard byteCount > 0 else { return "0" }
    let zeroBits = byteCount.trailingZeroBitCount
    guard let unit = units.last(where: { $0.shift <= UInt64(zeroBits) }) else {
      return "\(byteCount)"
    }
    let letter = unit.letter == "k" ? "k" : unit.letter.uppercased()
    return "\(byteCount >> unit.shift)\(letter)"
  }
}

/// Why a text is not a size or not a duration; the description completes "'TEXT' ...".
package enum QuantityError: Error, Equatable, Sendable, CustomStringConvertible {
  case notANumber
  case unknownUnit(String, known: String)
  case missingUnit(suggestion: String)
  case ambiguousUnit(String, suggestion: String)
  case tooLarge
  case notWhole(String)

  package var description: String {
    switch self {
    case .notANumber: "does not start with a number"
    case .unknownUnit(let unit, let known): "has the unknown unit '\(unit)': use \(known)"
    case .missingUnit(let suggestion): "has no unit: write for example \(suggestion)"
    case .ambiguousUnit(let unit, let suggestion):
      "has the ambiguous unit '\(unit)' (powers of 1000 or of 1024?): write \(suggestion)"
    case .tooLarge: "is too large"
    case .notWhole(let unit): "is not a whole number of \(unit)"
    }
  }
}

/// Digits with an optional fraction, kept exactly.
struct DecimalNumber {
  let text: String
  private let digits: UInt64
  private let fractionDigitCount: Int

  /// The number at the start of `text`, and the unit behind it.
  static func split(_ text: String) throws(QuantityError) -> (DecimalNumber, String) {
    let bytes = Array(text.utf8)
    var digits: UInt64 = 0
    var fractionDigitCount = 0
    var digitCount = 0
    var index = 0
    var inFraction = false
    scan: while index < bytes.count {
      switch bytes[index] {
      case UInt8(ascii: "0")...UInt8(ascii: "9"):
        let (scaled, overflow) = digits.multipliedReportingOverflow(by: 10)
        let (sum, carry) = scaled.addingReportingOverflow(
          UInt64(bytes[index] - UInt8(ascii: "0")))
        guard !overflow, !carry else { throw .tooLarge }
        digits = sum
        digitCount += 1
        if inFraction { fractionDigitCount += 1 }
      case UInt8(ascii: ".") where !inFraction && digitCount > 0:
        inFraction = true
      default: break scan
      }
      index += 1
    }
    guard digitCount > 0, !inFraction || fractionDigitCount > 0 else { throw .notANumber }
    let numberText = String(decoding: bytes[..<index], as: UTF8.self)
    while index < bytes.count, bytes[index] == UInt8(ascii: " ") { index += 1 }
    let number = DecimalNumber(
      text: numberText, digits: digits, fractionDigitCount: fractionDigitCount)
    return (number, String(decoding: bytes[index...], as: UTF8.self))
  }

  /// The number times `multiplier`, exactly.
  func scaled(by multiplier: UInt64, unit: String) throws(QuantityError) -> UInt64 {
    // 10^19 is the largest power that fits; finer fractions than that come to nothing whole.
    guard fractionDigitCount <= 19 else { throw .notWhole(unit) }
    var divisor: UInt64 = 1
    for _ in 0..<fractionDigitCount { divisor *= 10 }
    let product = digits.multipliedFullWidth(by: multiplier)
    guard product.high < divisor else { throw .tooLarge }
    let (quotient, remainder) = divisor.dividingFullWidth(product)
    guard remainder == 0 else { throw .notWhole(unit) }
    return quotient
  }
}
