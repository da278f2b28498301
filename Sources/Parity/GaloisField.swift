internal import CISAL

/// The field in which Q is computed: GF(2^8) with polynomial 0x11D and generator g = 2.
///
/// Addition is XOR. Source: H. P. Anvin, "The mathematics of RAID-6".
package enum GaloisField {
  /// Powers of g repeat after so many.
  package static let order = 255

  /// The coefficient of data block `index` in Q: g^index.
  ///
  /// - Precondition: `index` is not negative.
  package static func power(_ index: Int) -> UInt8 {
    precondition(index >= 0)
    var power: UInt8 = 1
    for _ in 0..<index % order { power = gf_mul(power, 2) }
    return power
  }

  /// The product of two elements.
  package static func multiply(_ one: UInt8, _ other: UInt8) -> UInt8 { gf_mul(one, other) }

  /// What gives 1 when multiplied with `element`.
  ///
  /// - Precondition: `element` is not 0, which has no inverse.
  package static func inverse(_ element: UInt8) -> UInt8 {
    precondition(element != 0)
    return gf_inv(element)
  }
}
