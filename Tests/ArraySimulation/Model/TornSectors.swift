/// Sectors of direct writes that a crash may have torn, until they are overwritten.
struct TornSectors {
  private var now: Set<Int> = []
  /// What a power loss brings back.
  private var durable: Set<Int> = []
  /// One for each sector of such a write.
  private(set) var pieces: Set<Int> = []

  func contains(_ sector: Int) -> Bool { now.contains(sector) }

  mutating func add(_ sectors: Range<Int>, piece: Int) {
    now.formUnion(sectors)
    pieces.insert(piece)
  }

  mutating func overwrite(_ sectors: Range<Int>, durably: Bool) {
    guard !now.isEmpty || !durable.isEmpty else { return }
    now.subtract(sectors)
    if durably { durable.subtract(sectors) }
  }

  mutating func losePower() { now.formUnion(durable) }

  /// What is served is durable.
  mutating func settle() { durable = now }
}
