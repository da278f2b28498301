/// Numbers as people and scripts read them.
package enum Figure {
  /// With so many decimals, always; like C's `%.2f` for what fits.
  package static func fixed(_ value: Double, _ decimals: Int) -> String {
    guard value.isFinite else { return "0" }
    var scale: UInt64 = 1
    for _ in 0..<decimals { scale *= 10 }
    guard abs(value) < 9e15 / Double(scale) else { return "\(value.rounded())" }
    let scaled = UInt64((abs(value) * Double(scale)).rounded())
    let sign = value < 0 && scaled > 0 ? "-" : ""
    guard decimals > 0 else { return "\(sign)\(scaled)" }
    let rest = "\(scaled % scale)"
    let zeros = String(repeating: "0", count: decimals - rest.utf8.count)
    return "\(sign)\(scaled / scale).\(zeros)\(rest)"
  }

  /// Three digits and a power of 1000: `942`, `12.3k`, `1.05M`.
  package static func short(_ value: Double) -> String {
    guard value >= 999.5 else { return fixed(value, value < 9.995 && value > 0 ? 2 : 0) }
    var scaled = value / 1000
    for unit in ["k", "M", "G"] {
      if scaled < 999.5 { return threeDigits(scaled) + unit }
      scaled /= 1000
    }
    return threeDigits(scaled) + "T"
  }

  /// `516 MiB/s (541 MB/s)`.
  package static func bandwidth(_ bytesPerSecond: Double) -> String {
    "\(binary(bytesPerSecond))/s (\(decimal(bytesPerSecond))/s)"
  }

  /// `528 KiB`.
  package static func binary(_ byteCount: Double) -> String {
    scaled(byteCount, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
  }

  /// `541 kB`.
  package static func decimal(_ byteCount: Double) -> String {
    scaled(byteCount, 1000, ["B", "kB", "MB", "GB", "TB", "PB"])
  }

  /// `12.3 s` with three digits; a latency or a time.
  package static func time(_ nanoseconds: Double) -> String {
    scaled(nanoseconds, 1000, ["ns", "us", "ms", "s"], limit: 3)
  }

  private static func scaled(
    _ value: Double, _ step: Double, _ units: [String], limit: Int = .max
  ) -> String {
    var index = 0
    var value = value
    while value >= 999.5, index < min(units.count - 1, limit) {
      value /= step
      index += 1
    }
    return "\(index == 0 ? fixed(value, 0) : threeDigits(value)) \(units[index])"
  }

  private static func threeDigits(_ value: Double) -> String {
    if value < 9.995 { return fixed(value, 2) }
    return value < 99.95 ? fixed(value, 1) : fixed(value, 0)
  }

  /// `99.99` without zeros at the end: the name of a percentile.
  package static func percent(_ value: Double) -> String {
    var text = fixed(value, 2)
    while text.hasSuffix("0") { text.removeLast() }
    if text.hasSuffix(".") { text.removeLast() }
    return text
  }
}

extension String {
  /// Filled with blanks on the left.
  func padded(left width: Int) -> String {
    String(repeating: " ", count: max(0, width - count)) + self
  }

  /// Filled with blanks on the right.
  func padded(right width: Int) -> String {
    self + String(repeating: " ", count: max(0, width - count))
  }
}
