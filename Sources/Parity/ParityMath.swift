internal import CISAL

/// Parity of whole buffers: what changes a row's P and Q, and what solves its equations.
///
/// With data blocks D0 ... D(k-1), + for XOR and g = 2 in GF(2^8) modulo 0x11D:
///
///     P = D0 + D1 + ... + D(k-1)
///     Q = g^0 D0 + g^1 D1 + ... + g^(k-1) D(k-1)
///
/// Source: H. P. Anvin, "The mathematics of RAID-6". Everything is elementwise: one call on 4096
/// bytes is the same as eight on its sectors, so a solver may treat each sector by itself.
///
/// Nothing here allocates. Rates: `benchmarks/results/parity-speed.md`.
package enum ParityMath {
  /// More data blocks than any row has.
  package static let indexCount = ParityTables.indexCount

  /// Adds a buffer to another: `target += source`.
  ///
  /// - Precondition: both have the same length, and are the same memory or do not overlap.
  package static func xor(_ source: ParityBuffer, into target: ParityBuffer) {
    precondition(source.byteCount == target.byteCount)
    // Safe: three addresses that ISA-L reads and writes `length` bytes at, all live and aligned.
    // The target is the last source as well: each word is read before it is written.
    unsafe withPointers(source, target, target) { pointers in
      unsafe succeeded(xor_gen(3, source.length, pointers))
    }
  }

  /// Adds a scaled buffer to another: `target += g^index source`.
  ///
  /// - Precondition: same length, no overlap, `index` below `indexCount`.
  package static func addScaled(
    _ source: ParityBuffer, index: Int, into target: ParityBuffer
  ) {
    precondition(source.byteCount == target.byteCount)
    let table = unsafe ParityTables.shared.scaling(index)
    var pointer = unsafe Optional(target.octets)
    // Not `gf_vect_mad`, which leaves lengths below 64 undone on processors with AVX-512.
    // Safe: reads `length` bytes of the source, changes as many of the target; the table fits.
    unsafe ec_encode_data_update(source.length, 1, 1, 0, table, source.octets, &pointer)
  }

  /// Brings both parities up to date with one changed data block, given old + new of it:
  /// `p += delta`, `q += g^index delta`.
  ///
  /// - Precondition: all have the same length, none overlap, `index` is below `indexCount`.
  package static func update(
    p: ParityBuffer, q: ParityBuffer, index: Int, delta: ParityBuffer
  ) {
    precondition(delta.byteCount == p.byteCount)
    precondition(delta.byteCount == q.byteCount)
    let table = unsafe ParityTables.shared.updating(index)
    // Safe: as in `addScaled`, with two targets and the tables for two.
    unsafe withOctets(p, q) { targets in
      unsafe ec_encode_data_update(delta.length, 1, 2, 0, table, delta.octets, targets)
    }
  }

  /// Multiplies in place: `buffer = coefficient buffer`.
  package static func scale(_ buffer: ParityBuffer, by coefficient: UInt8) {
    let table = unsafe ParityTables.shared.product(coefficient)
    // Safe: reads and writes `length` bytes of live memory, each word before the next is read.
    unsafe succeeded(
      gf_vect_mul(buffer.length, table, buffer.baseAddress, buffer.baseAddress))
  }

  // MARK: Equations

  /// Solves `qSyndrome = g^index x` in place: the buffer becomes x.
  ///
  /// The syndrome of Q is what is left of it after all known data blocks have been added to it,
  /// each with its coefficient.
  ///
  /// - Precondition: `index` is below `indexCount`.
  package static func solveOne(index: Int, qSyndrome: ParityBuffer) {
    precondition(index >= 0 && index < indexCount)
    let coefficient = ParityTables.shared.coefficient(index)
    scale(qSyndrome, by: GaloisField.inverse(coefficient))
  }

  /// Solves two equations with two unknowns, the blocks x and y of a row, in place.
  ///
  ///     pSyndrome = x + y
  ///     qSyndrome = g^xIndex x + g^yIndex y
  ///
  /// The buffer of the Q syndrome becomes x, and that of the P syndrome y. A caller who wants them
  /// the other way round swaps the indices.
  ///
  /// - Precondition: same length, no overlap; the indices are below `indexCount` and different.
  package static func solveTwo(
    xIndex: Int, yIndex: Int, pSyndrome: ParityBuffer, qSyndrome: ParityBuffer
  ) {
    precondition(xIndex != yIndex)
    precondition(xIndex >= 0 && xIndex < indexCount)
    // g^y Sp + Sq = (g^y + g^x) x
    addScaled(pSyndrome, index: yIndex, into: qSyndrome)
    let tables = ParityTables.shared
    let sum = tables.coefficient(xIndex) ^ tables.coefficient(yIndex)
    scale(qSyndrome, by: GaloisField.inverse(sum))
    xor(qSyndrome, into: pSyndrome)
  }

  // MARK: ISA-L's way of passing buffers

  /// Hands the body a table of three addresses that lies on the stack.
  @inline(__always)
  private static func withPointers(
    _ first: ParityBuffer, _ second: ParityBuffer, _ third: ParityBuffer,
    _ body: (UnsafeMutablePointer<UnsafeMutableRawPointer?>) -> Void
  ) {
    var table = unsafe (
      Optional(first.baseAddress), Optional(second.baseAddress), Optional(third.baseAddress)
    )
    // Safe: a tuple of three equal types lies in memory like three elements.
    unsafe withUnsafeMutableBytes(of: &table) { raw in
      guard let base = raw.baseAddress else { return }
      unsafe body(base.assumingMemoryBound(to: UnsafeMutableRawPointer?.self))
    }
  }

  /// Hands the body a table of two addresses that lies on the stack.
  @inline(__always)
  private static func withOctets(
    _ first: ParityBuffer, _ second: ParityBuffer,
    _ body: (UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>) -> Void
  ) {
    var table = unsafe (Optional(first.octets), Optional(second.octets))
    // Safe: a tuple of two equal types lies in memory like two elements.
    unsafe withUnsafeMutableBytes(of: &table) { raw in
      guard let base = raw.baseAddress else { return }
      unsafe body(base.assumingMemoryBound(to: UnsafeMutablePointer<UInt8>?.self))
    }
  }

  /// ISA-L refuses counts and lengths only; those it gets here are right.
  @inline(__always)
  static func succeeded(_ status: Int32) {
    precondition(status == 0, "ISA-L refused a count or a length")
  }
}
