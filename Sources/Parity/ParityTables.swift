internal import CISAL

/// The multiplication tables that ISA-L works from, for the coefficients that RAID-6 has.
///
/// Made once for the process. `ec_*` functions and `gf_vect_mul` want tables of different makers,
/// and what a table of `ec_init_tables` looks like inside is the library's secret (it differs
/// between processors in newer versions), so each kind is only ever handed to its own functions.
@safe
final class ParityTables: @unchecked Sendable {
  static let shared = ParityTables()

  /// How many powers of g there are tables for: as many as an array has members at most.
  static let indexCount = ParityVectors.capacity
  /// What ISA-L reserves for one coefficient.
  private static let tableBytes = 32

  // Safe: allocated and filled in `init`, only read afterwards, never freed.
  private let products: UnsafeMutablePointer<UInt8>
  private let single: UnsafeMutablePointer<UInt8>
  private let updates: UnsafeMutablePointer<UInt8>
  private let powers: UnsafeMutablePointer<UInt8>
  private let coefficients: [UInt8]

  private init() {
    let bytes = Self.tableBytes
    let count = Self.indexCount
    // Safe: each area has room for all tables that are written to it here.
    unsafe products = Self.area(tables: 256)
    for coefficient in UInt8.min...UInt8.max {
      unsafe gf_vect_mul_init(coefficient, products + Int(coefficient) * bytes)
    }
    unsafe single = Self.area(tables: count)
    unsafe updates = Self.area(tables: 2 * count)
    unsafe powers = Self.area(tables: count)
    var all: [UInt8] = []
    all.reserveCapacity(count)
    for index in 0..<count {
      let power = GaloisField.power(index)
      var pair: [UInt8] = [power]
      unsafe ec_init_tables(1, 1, &pair, single + index * bytes)
      pair = [1, power]
      unsafe ec_init_tables(1, 2, &pair, updates + index * 2 * bytes)
      all.append(power)
    }
    coefficients = all
    unsafe ec_init_tables(Int32(count), 1, &all, powers)
  }

  private static func area(tables: Int) -> UnsafeMutablePointer<UInt8> {
    let area = UnsafeMutableRawPointer.allocate(byteCount: tables * tableBytes, alignment: 64)
    // Safe: fresh memory of exactly that size.
    return unsafe area.initializeMemory(as: UInt8.self, repeating: 0, count: tables * tableBytes)
  }

  /// The power g^index itself.
  func coefficient(_ index: Int) -> UInt8 { coefficients[index] }

  /// For `gf_vect_mul`: times `coefficient`.
  func product(_ coefficient: UInt8) -> UnsafeMutablePointer<UInt8> {
    unsafe products + Int(coefficient) * Self.tableBytes
  }

  /// For `ec_encode_data_update` with one target: times g^index.
  func scaling(_ index: Int) -> UnsafeMutablePointer<UInt8> {
    precondition(index >= 0 && index < Self.indexCount)
    return unsafe single + index * Self.tableBytes
  }

  /// For `ec_encode_data_update` with the targets P and Q: times 1, and times g^index.
  func updating(_ index: Int) -> UnsafeMutablePointer<UInt8> {
    precondition(index >= 0 && index < Self.indexCount)
    return unsafe updates + index * 2 * Self.tableBytes
  }

  /// For `ec_encode_data` with one target: times g^0, g^1, and so on for up to 32 sources.
  var rowOfPowers: UnsafeMutablePointer<UInt8> { unsafe powers }
}
