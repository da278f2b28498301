package import IO
package import Units

/// What a disk's bytes lie on, with its cache: it outlives the machines that open it.
///
/// `live` is what a read returns now; `durable` is what power loss leaves. A write goes to `live`
/// and waits in a list; fdatasync moves what had been acknowledged before it began to `durable`.
/// At a power loss each 512-byte sector holds the durable content or that of any unflushed write
/// to it, in the order they were made. After a failed fdatasync, as on Linux, the writes it
/// covered count as clean: some reached the medium, the others never will, and the next fdatasync
/// succeeds without them.
package final class SimulatedMedium: @unchecked Sendable {
  package static let sectorBytes: UInt64 = 512

  package private(set) var live: DiskImage
  package private(set) var durable: DiskImage
  package let isBlockDevice: Bool
  /// Faults of the operations on it, whoever has opened it.
  package var faultRates = DiskFaultRates()
  package var injected = InjectedDiskFaults()
  /// Each catches one write to come, the first that touches its range.
  package var writeTraps: [WriteTrap] = []
  /// The file system below has so many blocks of 4 KiB for it; nil is enough for everything.
  package var spaceBlockCountMax: Int?
  /// Whether the file system can punch holes and zero ranges; EOPNOTSUPP where not.
  package var canPunchHoles = true
  package var canZeroRanges = true
  /// What asking for the size fails with.
  package var sizeError: SystemError?
  /// What the next power loss does.
  package var unflushedFate = UnflushedFate.drawn
  /// What a failed fdatasync does with what it covered.
  package var failedFlushFate = FailedFlushFate.drawn

  /// Changes that power loss may undo, in the order in which they took effect.
  private var unflushed: [UnflushedPiece] = []
  /// Sectors that cannot be read until they are written.
  private var unreadable: Set<UInt64> = []
  /// Sectors that once held, or may hold, what nobody wrote there, and no read said so: rot, damage
  /// at a power loss, writes that were lost or landed elsewhere.
  private var silentlyWrong: Set<UInt64> = []
  private var writeCount: UInt64 = 0
  private(set) var acknowledgedCount: UInt64 = 0

  /// A medium of zeros.
  ///
  /// A file may grow from `byteCount` up to `capacityBytes`, which is the same when nil; a block
  /// device never grows.
  package init(byteCount: UInt64, capacityBytes: UInt64? = nil, isBlockDevice: Bool = false) {
    precondition(!isBlockDevice || capacityBytes == nil || capacityBytes == byteCount)
    self.isBlockDevice = isBlockDevice
    live = DiskImage(byteCount: byteCount, capacityBytes: capacityBytes ?? byteCount)
    durable = live.copy()
  }

  /// A medium that holds a copy of an image, all of it durable.
  package init(copyOf image: DiskImage, isBlockDevice: Bool = false) {
    self.isBlockDevice = isBlockDevice
    live = image.copy()
    durable = image.copy()
  }

  /// The numbers of the writes and clears that power loss may undo, in order of effect.
  package var unflushedWrites: [UInt64] {
    var numbers: [UInt64] = []
    for piece in unflushed where !numbers.contains(piece.ticket.number) {
      numbers.append(piece.ticket.number)
    }
    return numbers
  }

  // MARK: Damage from outside

  /// Another program changes the size, durably.
  package func truncate(to byteCount: UInt64) {
    precondition(!isBlockDevice, "a block device keeps its size")
    live.setByteCount(byteCount)
    durable.setByteCount(byteCount)
    unflushed = unflushed.compactMap { piece in
      guard piece.range.offsetBytes < byteCount else { return nil }
      return piece.part(
        ByteRange(from: piece.range.offsetBytes, to: min(piece.range.endBytes, byteCount)))
    }
  }

  /// Turns bits over at a byte, in what is read and in what is durable.
  package func flipBits(at offsetBytes: UInt64, mask: UInt8 = 1) {
    let range = ByteRange(from: offsetBytes, to: offsetBytes + 1)
    for image in [live, durable] {
      var byte = image.bytes(range)
      byte[0] ^= mask
      image.replace(range, with: byte)
    }
    injected.flippedBits += mask.nonzeroBitCount
    noteLie(range)
  }

  /// Copies what is read at a range, as another program would.
  package func copyBytes(_ range: ByteRange, into buffer: IOBuffer) {
    let bytes = live.bytes(range)
    // Safe: the pointer is used inside the closure and only read.
    unsafe bytes.withUnsafeBytes { raw in
      guard let base = raw.baseAddress else { return }
      buffer.copy(
        from: unsafe IOBuffer(UnsafeMutableRawPointer(mutating: base), byteCount: raw.count))
    }
  }

  /// Replaces bytes, in what is read and in what is durable, as another program would.
  package func overwrite(at offsetBytes: UInt64, with bytes: [UInt8]) {
    let range = ByteRange(from: offsetBytes, to: offsetBytes + UInt64(bytes.count))
    live.replace(range, with: bytes)
    durable.replace(range, with: bytes)
  }

  /// Makes every sector that the range touches fail to be read until it is written as a whole.
  package func makeUnreadable(_ range: ByteRange) {
    for sector in Self.sectors(of: range) { unreadable.insert(sector) }
  }

  /// Whether a sector was ever made to lie.
  package func hasLied(sector: UInt64) -> Bool { silentlyWrong.contains(sector) }

  // MARK: For disks

  func noteLie(_ range: ByteRange) { silentlyWrong.formUnion(Self.sectors(of: range)) }

  func makeTicket() -> WriteTicket {
    writeCount += 1
    return WriteTicket(number: writeCount)
  }

  /// The first sector of a range that cannot be read.
  func firstUnreadable(_ range: ByteRange) -> UInt64? {
    guard !unreadable.isEmpty else { return nil }
    return Self.sectors(of: range).first { unreadable.contains($0) }
  }

  func write(_ range: ByteRange, from source: IOBuffer, _ ticket: WriteTicket) {
    live.write(range, from: source)
    let bytes = live.bytes(range)
    unflushed.append(UnflushedPiece(ticket: ticket, range: range, content: .bytes(bytes, first: 0)))
    guard !unreadable.isEmpty, !range.isEmpty else { return }
    for sector in Self.sectors(of: range) where Self.range(ofSector: sector).isInside(range) {
      unreadable.remove(sector)
    }
  }

  func clear(_ range: ByteRange, mode: ClearMode, _ ticket: WriteTicket) {
    live.clear(range, mode: mode)
    unflushed.append(UnflushedPiece(ticket: ticket, range: range, content: .zeros(mode)))
  }

  /// Its user has been told that it is done: from now on a new fdatasync covers it.
  func acknowledge(_ ticket: WriteTicket) {
    acknowledgedCount += 1
    ticket.acknowledgedAt = acknowledgedCount
  }

  /// A bit of a range turns over, unless a write to it is still on its way to the medium.
  func rot(_ range: ByteRange, _ random: inout RandomSource) {
    let offset = range.offsetBytes + random.next(below: range.byteCount)
    let mask = UInt8(1) << UInt8(random.next(below: 8))
    let sector = Self.range(ofSector: offset / Self.sectorBytes)
    guard !unflushed.contains(where: { $0.range.overlaps(sector) }) else { return }
    flipBits(at: offset, mask: mask)
  }

  /// fdatasync succeeded: everything acknowledged up to `limit` is durable.
  func settle(acknowledgedThrough limit: UInt64) {
    if unflushed.allSatisfy({ $0.ticket.isAcknowledged(through: limit) }) {
      for piece in unflushed { piece.apply(to: durable) }
      unflushed.removeAll(keepingCapacity: true)
    } else {
      settleBySector(acknowledgedThrough: limit) { _ in true }
    }
  }

  /// fdatasync failed: what it covered is clean, and durable only where a coin says so.
  ///
  /// Where another coin says so, the page is dropped and reads return the old content.
  func failToSettle(acknowledgedThrough limit: UInt64, _ random: inout RandomSource) {
    var dropped: [UInt64] = []
    settleBySector(acknowledgedThrough: limit) { sector in
      if failedFlushFate == .onlyInCache { return false }
      guard !random.coin() else { return true }
      if random.coin() { dropped.append(sector) }
      return false
    }
    for sector in dropped {
      let range = Self.range(ofSector: sector)
      guard !unflushed.contains(where: { $0.range.overlaps(range) }) else { continue }
      let end = min(range.endBytes, live.byteCount, durable.byteCount)
      guard range.offsetBytes < end else { continue }
      let shown = ByteRange(from: range.offsetBytes, to: end)
      live.replace(shown, with: durable.bytes(shown))
    }
  }

  /// Moves each sector's content as of its last covered change to `durable`, if it `lands`, and
  /// forgets the changes up to that one.
  private func settleBySector(
    acknowledgedThrough limit: UInt64, lands: (_ sector: UInt64) -> Bool
  ) {
    var lastCovered: [UInt64: Int] = [:]
    for (index, piece) in unflushed.enumerated()
    where piece.ticket.isAcknowledged(through: limit) {
      for sector in Self.sectors(of: piece.range) { lastCovered[sector] = index }
    }
    var decided: [UInt64: Bool] = [:]
    var kept: [UnflushedPiece] = []
    for (index, piece) in unflushed.enumerated() {
      for part in piece.partsBySector() {
        guard let last = lastCovered[part.sector], index <= last else {
          kept.append(part.piece)
          continue
        }
        let isLanding = decided[part.sector] ?? lands(part.sector)
        decided[part.sector] = isLanding
        if isLanding { part.piece.apply(to: durable) }
      }
    }
    unflushed = kept
  }

  // MARK: Power loss

  /// What is left when the power goes: of each sector's unflushed changes the first few, by fate.
  func losePower(_ random: inout RandomSource) {
    var partsBySector: [UInt64: [UnflushedPiece]] = [:]
    for piece in unflushed {
      for part in piece.partsBySector() {
        partsBySector[part.sector, default: []].append(part.piece)
      }
    }
    let survivors = survivorCount(&random)
    let keepsGrowth = if case .drawn = unflushedFate { random.coin() } else { true }
    let durableByteCount = durable.byteCount
    let sectors = partsBySector.keys.sorted()
    for sector in sectors {
      let parts = partsBySector[sector] ?? []
      let count = survivors(sector, parts.map(\.ticket.number))
      for part in parts.prefix(count) {
        guard keepsGrowth || part.range.endBytes <= durableByteCount else { continue }
        part.apply(to: durable)
      }
    }
    if !sectors.isEmpty, random.happens(perMillion: faultRates.damagedSectorAtPowerLoss) {
      damage(sector: sectors[random.index(below: sectors.count)], &random)
    }
    unflushed = []
    live = durable.copy()
  }

  private func survivorCount(
    _ random: inout RandomSource
  ) -> (_ sector: UInt64, _ writes: [UInt64]) -> Int {
    switch unflushedFate {
    case .keepAll: return { $1.count }
    case .loseAll: return { _, _ in 0 }
    case .chosen(let choose): return { max(0, min($1.count, choose($0, $1))) }
    case .drawn: break
    }
    let writes = unflushedWrites
    guard !writes.isEmpty else { return { $1.count } }
    let one = writes[random.index(below: writes.count)]
    switch random.index(below: 5) {
    case 0: return { $1.count }
    case 1: return { _, _ in 0 }
    case 2: return { $1.last == one ? $1.count - 1 : $1.count }
    case 3: return { ($1.lastIndex(of: one) ?? -1) + 1 }
    default:
      var source = random.split()
      return { source.index(below: $1.count + 1) }
    }
  }

  private func damage(sector: UInt64, _ random: inout RandomSource) {
    let whole = Self.range(ofSector: sector)
    let end = min(whole.endBytes, durable.byteCount)
    guard whole.offsetBytes < end else { return }
    let range = ByteRange(from: whole.offsetBytes, to: end)
    var bytes = durable.bytes(range)
    for index in bytes.indices { bytes[index] = UInt8(truncatingIfNeeded: random.next()) }
    durable.replace(range, with: bytes)
    injected.damagedSectors += 1
    noteLie(range)
  }

  static func range(ofSector sector: UInt64) -> ByteRange {
    ByteRange(from: sector * sectorBytes, to: (sector + 1) * sectorBytes)
  }

  static func sectors(of range: ByteRange) -> Range<UInt64> {
    guard !range.isEmpty else { return 0..<0 }
    return range.offsetBytes / sectorBytes..<(range.endBytes - 1) / sectorBytes + 1
  }
}

/// One write or clear, from its submission to the word that it is done.
final class WriteTicket {
  let number: UInt64
  /// Its place among all that were acknowledged; nil before.
  var acknowledgedAt: UInt64?

  init(number: UInt64) {
    self.number = number
  }

  func isAcknowledged(through limit: UInt64) -> Bool {
    acknowledgedAt.map { $0 <= limit } ?? false
  }
}

/// A change of a run of bytes that power loss may undo.
struct UnflushedPiece {
  enum Content {
    /// The bytes of the run start at index `first`; parts of a piece share the array.
    case bytes([UInt8], first: Int)
    case zeros(ClearMode)
  }

  let ticket: WriteTicket
  let range: ByteRange
  let content: Content

  func part(_ part: ByteRange) -> UnflushedPiece {
    guard case .bytes(let bytes, let first) = content else {
      return UnflushedPiece(ticket: ticket, range: part, content: content)
    }
    let skipped = Int(part.offsetBytes - range.offsetBytes)
    return UnflushedPiece(
      ticket: ticket, range: part, content: .bytes(bytes, first: first + skipped))
  }

  func partsBySector() -> [(sector: UInt64, piece: UnflushedPiece)] {
    SimulatedMedium.sectors(of: range).map { sector in
      let whole = SimulatedMedium.range(ofSector: sector)
      let inside = ByteRange(
        from: max(whole.offsetBytes, range.offsetBytes), to: min(whole.endBytes, range.endBytes))
      return (sector, part(inside))
    }
  }

  func apply(to image: DiskImage) {
    switch content {
    case .zeros(let mode): image.clear(range, mode: mode)
    case .bytes(let bytes, let first):
      // Safe: the pointer is used inside the closure, and `first` plus the count lies inside.
      unsafe bytes.withUnsafeBytes { raw in
        guard let base = raw.baseAddress else { return }
        let source = unsafe IOBuffer(
          UnsafeMutableRawPointer(mutating: base), byteCount: raw.count)
        image.write(range, from: source.slice(first, Int(range.byteCount)))
      }
    }
  }
}

extension DiskImage {
  /// Writes an array over a range of its length.
  func replace(_ range: ByteRange, with bytes: [UInt8]) {
    precondition(range.byteCount == UInt64(bytes.count))
    // Safe: the pointer is used inside the closure and only read.
    unsafe bytes.withUnsafeBytes { raw in
      guard let base = raw.baseAddress else { return }
      write(
        range,
        from: unsafe IOBuffer(UnsafeMutableRawPointer(mutating: base), byteCount: raw.count))
    }
  }
}

extension ByteRange {
  func isInside(_ other: ByteRange) -> Bool {
    other.offsetBytes <= offsetBytes && endBytes <= other.endBytes
  }
}
