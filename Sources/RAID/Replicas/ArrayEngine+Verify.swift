import DiskFormat
package import IO

// Comparing with a replica: what is mended here, and how fast copies and comparisons may go.
extension ArrayEngine {
  /// Puts content where this node can read nothing; it has no number, for it is no client's.
  ///
  /// The payload stays as it is until so many records have been published as were handed over.
  package func mend(
    _ records: [StreamBatch.Record], payload: IOBuffer
  ) async throws(ArrayError) {
    try await logReplicated(records, payload, isCopy: true) { () throws(ArrayError) in }
  }

  /// Writes are refused, or were: what clients wrote last may be shown later.
  package var isHoldingBack: Bool { nodes.stoppedSinceSeconds != nil || nodes.superseded != nil }

  /// Tells an operator of something.
  package func tell(_ severity: EventSeverity, _ words: String, block: UInt64? = nil) {
    parts.events.note(words, severity, block: block)
  }

  // MARK: Pacing

  /// Whether clients ask for anything.
  package var hasClients: Bool { keeper.governor.hasClients(machine.nowNanoseconds) }

  /// How long copies and comparisons have to rest for the clients' sake, or a piece of that; nil when
  /// they may go on (docs/upkeep.md, section 5).
  package var copyRestNanoseconds: UInt64? {
    let now = machine.nowNanoseconds
    keeper.governor.judge(now)
    return keeper.governor.restNanoseconds(now)
  }

  /// A step of a copy or a comparison has ended.
  package func noteCopyStep(began: UInt64) {
    keeper.governor.noteStep(began: began, ended: machine.nowNanoseconds)
  }
}
