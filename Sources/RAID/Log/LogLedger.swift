import DiskFormat

/// The batches behind the checkpoint, and what holds the checkpoint back.
struct LogLedger {
  struct Entry {
    var chain: UInt32
    /// Where its records end among those of clients.
    var position: StreamPosition
    var pinCount: Int
  }

  private(set) var checkpoint: CheckpointFields
  private var entries = LogQueue<Entry>()
  /// Nothing up to here is pinned.
  private var unpinnedThrough: UInt64

  init(checkpoint: CheckpointFields) {
    self.checkpoint = checkpoint
    unpinnedThrough = checkpoint.sequence
  }

  var lastSequence: UInt64 { checkpoint.sequence + UInt64(entries.count) }
  var isEmpty: Bool { entries.isEmpty }

  private func index(of sequence: UInt64) -> Int {
    precondition(
      sequence > checkpoint.sequence && sequence <= lastSequence,
      "a batch that is not behind the checkpoint")
    return Int(sequence - checkpoint.sequence - 1)
  }

  /// The first batch that ends behind a client record; nil when none does.
  ///
  /// What is up to the checkpoint is not known.
  func firstSequence(behind number: UInt64) -> UInt64? {
    let index = entries.firstIndex { $0.position.number <= number }
    return index < entries.count ? checkpoint.sequence + UInt64(index) + 1 : nil
  }

  /// Where the records of a batch end; of the checkpoint, too.
  func position(at sequence: UInt64) -> StreamPosition {
    sequence <= checkpoint.sequence
      ? checkpoint.position : entries[index(of: sequence)].position
  }

  mutating func append(_ entry: Entry) { entries.append(entry) }

  mutating func pin(_ sequence: UInt64) {
    entries[index(of: sequence)].pinCount += 1
    unpinnedThrough = min(unpinnedThrough, sequence - 1)
  }

  mutating func unpin(_ sequence: UInt64) {
    let index = index(of: sequence)
    precondition(entries[index].pinCount > 0, "a batch is unpinned more often than pinned")
    entries[index].pinCount -= 1
  }

  /// The last batch before the first pinned one, and not beyond `limit`.
  mutating func candidate(limit: UInt64) -> UInt64 {
    let limit = min(limit, lastSequence)
    while unpinnedThrough < limit, entries[index(of: unpinnedThrough + 1)].pinCount == 0 {
      unpinnedThrough += 1
    }
    return max(checkpoint.sequence, min(unpinnedThrough, limit))
  }

  func fields(at sequence: UInt64, horizon: UInt64) -> CheckpointFields {
    guard sequence != checkpoint.sequence else {
      return CheckpointFields(
        sequence: sequence, chain: checkpoint.chain, position: checkpoint.position,
        horizon: horizon)
    }
    let entry = entries[index(of: sequence)]
    return CheckpointFields(
      sequence: sequence, chain: entry.chain, position: entry.position,
      horizon: horizon)
  }

  /// Forgets everything up to the new checkpoint.
  mutating func advance(to sequence: UInt64) {
    guard sequence > checkpoint.sequence else { return }
    let fields = fields(at: sequence, horizon: checkpoint.horizon)
    precondition(sequence <= unpinnedThrough, "the checkpoint passes a pinned batch")
    entries.removeFirst(Int(sequence - checkpoint.sequence))
    checkpoint = fields
  }
}
