internal import CISAL

/// The data blocks of a row, in the order of their positions, as ISA-L wants them: a table of
/// addresses.
///
/// Made once and filled anew for each row, so that parity costs no allocation. Belongs to one task
/// at a time. The memory behind the buffers stays the caller's; outputs must not overlap inputs.
@safe
@usableFromInline
package final class ParityVectors {
  // The type is usable from inline code: only then is its own inlined in other modules. Filling
  // the table by calls would cost a quarter of the XOR of a row of 4 KiB blocks.

  /// The most data blocks that a table takes.
  @usableFromInline package static let capacity = 32
  /// The longest buffers that it takes.
  @usableFromInline package let byteCountMax: Int

  // Safe: all are allocated in `init` and freed in `deinit`; the first has `capacity` + 2
  // entries, of which the first `count` are live buffers of `byteCount` bytes or the zeros.
  @usableFromInline let table: UnsafeMutablePointer<UnsafeMutableRawPointer?>
  @usableFromInline let zeros: UnsafeMutableRawPointer
  // Behind a pointer: checks of exclusive access to properties would cost a fifth of a row's time.
  @usableFromInline let state: UnsafeMutablePointer<State>

  @usableFromInline
  struct State {
    @usableFromInline var count = 0
    /// The length of all buffers; 0 while there are none.
    @usableFromInline var byteCount = 0

    @inlinable
    init() {}
  }

  /// Makes an empty table.
  ///
  /// - Parameter byteCountMax: the longest buffers that it will see; so much memory is kept for
  ///   zeros.
  package init(byteCountMax: Int = 4096) {
    precondition(byteCountMax > 0 && byteCountMax <= ParityBuffer.byteCountMax)
    self.byteCountMax = byteCountMax
    unsafe table = .allocate(capacity: Self.capacity + 2)
    unsafe table.initialize(repeating: nil, count: Self.capacity + 2)
    unsafe zeros = .allocate(byteCount: byteCountMax, alignment: 64)
    // Safe: fresh memory of exactly that size.
    unsafe _ = zeros.initializeMemory(as: UInt8.self, repeating: 0, count: byteCountMax)
    unsafe state = .allocate(capacity: 1)
    unsafe state.initialize(to: State())
  }

  deinit {
    // Safe: allocated in `init`; no computation outlives its call.
    unsafe table.deallocate()
    unsafe zeros.deallocate()
    unsafe state.deallocate()
  }

  /// The data blocks in the table, zeros too.
  @inlinable @inline(__always)
  package var count: Int { unsafe state.pointee.count }

  /// Empties the table.
  @inlinable @inline(__always)
  package func removeAll() {
    unsafe state.pointee = State()
  }

  /// Adds the data block of the next position.
  ///
  /// - Precondition: there is room, and all buffers since `removeAll` have one length.
  @inlinable @inline(__always)
  package func append(_ buffer: ParityBuffer) {
    if unsafe state.pointee.byteCount != buffer.byteCount {
      // The first sets the length.
      precondition(unsafe state.pointee.byteCount == 0)
      precondition(buffer.byteCount <= byteCountMax)
      unsafe state.pointee.byteCount = buffer.byteCount
    }
    unsafe append(address: buffer.baseAddress)
  }

  /// Adds a data block of zeros: one that was never written, or one whose share is left out.
  ///
  /// - Precondition: there is room.
  @inlinable @inline(__always)
  package func appendZeros() {
    unsafe append(address: zeros)
  }

  @inlinable @inline(__always)
  func append(address: UnsafeMutableRawPointer) {
    let index = unsafe state.pointee.count
    precondition(index < Self.capacity)
    unsafe table[index] = unsafe address
    unsafe state.pointee.count = index + 1
  }

  // MARK: Generate

  /// Computes `p = D0 + ... + D(k-1)`.
  ///
  /// - Precondition: `p` is as long as the data.
  package func generateP(into p: ParityBuffer) {
    let sources = sourceCount(for: p)
    unsafe table[sources] = unsafe p.baseAddress
    // Safe: the table has `sources` + 1 live addresses of `length` bytes each.
    unsafe ParityMath.succeeded(xor_gen(Int32(sources + 1), p.length, table))
  }

  /// Computes `q = g^0 D0 + ... + g^(k-1) D(k-1)`.
  ///
  /// Slower than `generatePQ`: for when P is not to be touched.
  ///
  /// - Precondition: `q` is as long as the data.
  package func generateQ(into q: ParityBuffer) {
    let sources = sourceCount(for: q)
    let powers = unsafe ParityTables.shared.rowOfPowers
    var target = unsafe Optional(q.octets)
    // Safe: `sources` live addresses of `length` bytes, tables for as many, and one target.
    // Pointers to bytes and to memory look alike.
    unsafe table.withMemoryRebound(to: UnsafeMutablePointer<UInt8>?.self, capacity: sources) {
      unsafe ec_encode_data(q.length, Int32(sources), 1, powers, $0, &target)
    }
  }

  /// Computes both parities in one pass.
  ///
  /// - Precondition: `p` and `q` are as long as the data.
  package func generatePQ(p: ParityBuffer, q: ParityBuffer) {
    precondition(p.byteCount == q.byteCount)
    let sources = sourceCount(for: p)
    unsafe table[sources] = unsafe p.baseAddress
    unsafe table[sources + 1] = unsafe q.baseAddress
    // Safe: the table has `sources` + 2 live addresses of `length` bytes each.
    unsafe ParityMath.succeeded(pq_gen(Int32(sources + 2), p.length, table))
  }

  /// The sources that ISA-L is told about: at least two, so fewer are followed by zeros, which
  /// change neither parity.
  @inline(__always)
  private func sourceCount(for target: ParityBuffer) -> Int {
    let count = unsafe state.pointee.count
    if unsafe state.pointee.byteCount != target.byteCount {
      // Nothing but zeros was added.
      precondition(unsafe state.pointee.byteCount == 0)
      precondition(target.byteCount <= byteCountMax)
    }
    guard count < 2 else { return count }
    if count == 0 { unsafe table[0] = unsafe zeros }
    unsafe table[1] = unsafe zeros
    return 2
  }

  // MARK: Recover

  /// Computes the data block at `index` from P and the others, into its own buffer.
  ///
  /// - Precondition: the block at `index` has a buffer; its contents do not matter.
  package func recover(_ index: Int, fromP p: ParityBuffer) {
    let lost = buffer(index)
    // P takes the place of the lost block among the sources.
    unsafe table[index] = unsafe p.baseAddress
    generateP(into: lost)
    unsafe table[index] = unsafe lost.baseAddress
  }

  /// Computes the data block at `index` from Q and the others, into its own buffer.
  ///
  /// - Precondition: the block at `index` has a buffer; its contents do not matter.
  package func recover(_ index: Int, fromQ q: ParityBuffer) {
    let lost = buffer(index)
    unsafe table[index] = unsafe zeros
    generateQ(into: lost)
    unsafe table[index] = unsafe lost.baseAddress
    ParityMath.xor(q, into: lost)
    ParityMath.solveOne(index: index, qSyndrome: lost)
  }

  /// Computes two data blocks from P, Q and the others, into their own buffers.
  ///
  /// - Precondition: the blocks at `x` and `y` differ and have buffers; their contents do not
  ///   matter.
  package func recover(_ x: Int, _ y: Int, p: ParityBuffer, q: ParityBuffer) {
    precondition(x != y)
    let lostX = buffer(x)
    let lostY = buffer(y)
    unsafe table[x] = unsafe zeros
    unsafe table[y] = unsafe zeros
    generatePQ(p: lostY, q: lostX)
    unsafe table[x] = unsafe lostX.baseAddress
    unsafe table[y] = unsafe lostY.baseAddress
    ParityMath.xor(p, into: lostY)
    ParityMath.xor(q, into: lostX)
    ParityMath.solveTwo(xIndex: x, yIndex: y, pSyndrome: lostY, qSyndrome: lostX)
  }

  /// Computes one or two lost blocks of a row, into their own buffers.
  ///
  /// Positions count as in a row: data from 0, then P, then Q.
  ///
  /// - Parameters:
  ///   - lost: the first lost position.
  ///   - other: the second; needs `q`.
  ///   - p: of the row, intact or to be filled.
  ///   - q: of the row, intact or to be filled; nil for a level without.
  /// - Precondition: all that are lost have buffers; everything else is intact.
  package func recover(
    position lost: Int, and other: Int? = nil, p: ParityBuffer, q: ParityBuffer?
  ) {
    precondition(q != nil || other == nil, "one parity gives back one block")
    let first = min(lost, other ?? lost)
    let second = max(lost, other ?? lost)
    precondition(first >= 0 && second < count + (q == nil ? 1 : 2))
    precondition(first != second || other == nil)
    switch (first, second) {
    case (let x, let y) where y < count && x < y:
      guard let q else { return }
      recover(x, y, p: p, q: q)
    case (let x, let y) where x < count && y == count:
      guard let q else { return }
      recover(x, fromQ: q)
      generateP(into: p)
    case (let x, _) where x < count:
      recover(x, fromP: p)
      if let q, second == count + 1 { generateQ(into: q) }
    case (count, count): generateP(into: p)
    case (count, _):
      guard let q else { return }
      generatePQ(p: p, q: q)
    default:
      guard let q else { return }
      generateQ(into: q)
    }
  }

  /// The buffer of a block that is to be computed.
  private func buffer(_ index: Int) -> ParityBuffer {
    precondition(index >= 0 && index < count)
    guard let address = unsafe table[index], unsafe address != zeros else {
      preconditionFailure("the block has no buffer")
    }
    return unsafe ParityBuffer(address, byteCount: state.pointee.byteCount)
  }
}
