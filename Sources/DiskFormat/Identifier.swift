/// 128 random bits that name an array, a member, a configuration or a timeline.
package struct Identifier: Equatable, Hashable, Sendable, CustomStringConvertible {
  package let high: UInt64
  package let low: UInt64

  package init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// All zeros: names nothing.
  package static let none = Identifier(high: 0, low: 0)

  /// In the form of a UUID: `0123abcd-4567-89ab-cdef-0123456789ab`.
  package var description: String {
    func hex(_ value: UInt64, _ digits: Int) -> String {
      let text = String(value, radix: 16)
      return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
    return "\(hex(high >> 32, 8))-\(hex(high >> 16 & 0xffff, 4))-\(hex(high & 0xffff, 4))-"
      + "\(hex(low >> 48, 4))-\(hex(low & 0xffff_ffff_ffff, 12))"
  }
}
