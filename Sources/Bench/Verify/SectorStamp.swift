import IO
import Parity

/// What each sector of a verified block says of itself: `docs/formats/sector-stamp.md`.
///
/// The header has a checksum of its own so that a damaged sector can still say what it was, and
/// its content be computed and compared bit by bit. At this length CRC32C finds every change of
/// up to five bits.
struct SectorStamp: Equatable {
  static let byteCount = 512

  /// The parts of a stamped sector; numbers are little-endian.
  enum Field: String, CaseIterable {
    case magic, seed, offset, run
    case blockLength = "block length"
    case index, generation, version
    case headerCheck = "header check"
    case filling, check

    /// Where in the sector it lies.
    var byteRange: Range<Int> {
      switch self {
      case .magic: 0..<8
      case .seed: 8..<16
      case .offset: 16..<24
      case .run: 24..<32
      case .blockLength: 32..<36
      case .index: 36..<40
      case .generation: 40..<44
      case .version: 44..<48
      case .headerCheck: 48..<52
      case .filling: 52..<508
      case .check: 508..<512
      }
    }
  }

  var seed: UInt64
  var offsetBytes: UInt64
  var run: UInt64
  var blockByteCount: UInt32
  var index: UInt32
  var generation: UInt32

  private static let magic: UInt64 = 0x5342_7261_6c68_7361
  private static let version: UInt32 = 1
  private static let headerByteCount = Field.headerCheck.byteRange.lowerBound
  private static let checkedByteCount = Field.check.byteRange.lowerBound

  /// Where the sector itself belongs on the target.
  var placeBytes: UInt64 { offsetBytes &+ UInt64(index) * UInt64(Self.byteCount) }

  /// Writes the whole sector.
  func write(into sector: IOBuffer) {
    precondition(sector.byteCount == Self.byteCount)
    // Two fields of four bytes in one store each.
    sector.storeWord(Self.magic, at: 0)
    sector.storeWord(seed, at: 8)
    sector.storeWord(offsetBytes, at: 16)
    sector.storeWord(run, at: 24)
    sector.storeWord(UInt64(index) << 32 | UInt64(blockByteCount), at: 32)
    sector.storeWord(UInt64(Self.version) << 32 | UInt64(generation), at: 40)
    let header = sector.prefix(Self.headerByteCount)
    let check = CRC32C.checksum(header.bytes)

    // A counter through one multiplication (Wang Yi's wyrand): no word depends on the one
    // before, so that the processor computes several at a time.
    var counter = streamStart
    sector.storeWord(Self.word(counter) << 32 | UInt64(check), at: Self.headerByteCount)
    for offset in stride(from: Self.headerByteCount + 8, to: Self.byteCount, by: 8) {
      counter &+= 0x9E37_79B9_7F4A_7C15
      sector.storeWord(Self.word(counter), at: offset)
    }
    let body = sector.prefix(Self.checkedByteCount)
    sector.storeHalfWord(CRC32C.checksum(body.bytes), at: Self.checkedByteCount)
  }

  @inline(__always)
  private static func word(_ counter: UInt64) -> UInt64 {
    let product = counter.multipliedFullWidth(by: counter ^ 0xE703_7ED1_A0B4_28DB)
    return product.high ^ product.low
  }

  private static func mix(_ counter: UInt64) -> UInt64 {
    var mixed = counter
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  /// Where the counter starts: each field is mixed in on its own, so that sectors that differ in
  /// one have nothing in common.
  private var streamStart: UInt64 {
    var start = Self.mix(seed)
    start = Self.mix(start ^ offsetBytes)
    start = Self.mix(start ^ run)
    start = Self.mix(start ^ (UInt64(index) << 32 | UInt64(blockByteCount)))
    return Self.mix(start ^ UInt64(generation))
  }

  /// The fields as they stand in a sector, whatever its checksums say.
  init(reading sector: IOBuffer) {
    precondition(sector.byteCount == Self.byteCount)
    seed = sector.loadWord(at: 8)
    offsetBytes = sector.loadWord(at: 16)
    run = sector.loadWord(at: 24)
    let place = sector.loadWord(at: 32)
    blockByteCount = UInt32(truncatingIfNeeded: place)
    index = UInt32(truncatingIfNeeded: place >> 32)
    generation = UInt32(truncatingIfNeeded: sector.loadWord(at: 40))
  }

  init(
    seed: UInt64, offsetBytes: UInt64, run: UInt64, blockByteCount: UInt32, index: UInt32,
    generation: UInt32
  ) {
    self.seed = seed
    self.offsetBytes = offsetBytes
    self.run = run
    self.blockByteCount = blockByteCount
    self.index = index
    self.generation = generation
  }

  static func hasMagic(_ sector: IOBuffer) -> Bool { sector.loadWord(at: 0) == magic }

  /// Whether magic, version and header checksum are right: what the header says can be believed.
  static func hasSoundHeader(_ sector: IOBuffer) -> Bool {
    guard hasMagic(sector), sector.loadWord(at: 40) >> 32 == UInt64(version) else { return false }
    let header = sector.prefix(headerByteCount)
    let stored = UInt32(truncatingIfNeeded: sector.loadWord(at: headerByteCount))
    return CRC32C.checksum(header.bytes) == stored
  }

  /// Whether magic, version and the sector's checksum are right.
  static func isSound(_ sector: IOBuffer) -> Bool {
    guard hasMagic(sector), sector.loadWord(at: 40) >> 32 == UInt64(version) else { return false }
    let body = sector.prefix(checkedByteCount)
    let stored = UInt32(truncatingIfNeeded: sector.loadWord(at: checkedByteCount - 4) >> 32)
    return CRC32C.checksum(body.bytes) == stored
  }
}

extension IOBuffer {
  /// A little-endian number of eight bytes.
  ///
  /// - Precondition: it lies inside the view.
  @inline(__always)
  func loadWord(at offset: Int) -> UInt64 {
    precondition(offset >= 0 && offset <= byteCount - 8)
    // Safe: inside the view; every pattern of bits is a number.
    return UInt64(
      littleEndian: unsafe baseAddress.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  @inline(__always)
  fileprivate func storeWord(_ word: UInt64, at offset: Int) {
    precondition(offset >= 0 && offset <= byteCount - 8)
    // Safe: inside the view.
    unsafe baseAddress.storeBytes(of: word.littleEndian, toByteOffset: offset, as: UInt64.self)
  }

  @inline(__always)
  fileprivate func storeHalfWord(_ word: UInt32, at offset: Int) {
    precondition(offset >= 0 && offset <= byteCount - 4)
    // Safe: inside the view.
    unsafe baseAddress.storeBytes(of: word.littleEndian, toByteOffset: offset, as: UInt32.self)
  }
}
