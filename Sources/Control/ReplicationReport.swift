import DiskFormat
import RAID

/// How an array stands to the other nodes with its device, as the control socket tells it.
package struct ReplicationReport: Equatable, Sendable {
  /// `primary` or `replica`.
  package var role: String
  /// `continue` or `stop`.
  package var lossPolicy: String
  package var isConsistent: Bool
  package var isHandedOver: Bool
  package var refusal: String
  package var divergence: String
  package var stoppedSinceSeconds: UInt64?
  package var number: UInt64
  package var durableNumber: UInt64
  package var timelineCount: UInt64
  package var peers: [PeerReport]
}

/// One of these nodes.
package struct PeerReport: Equatable, Sendable {
  package var nodeID: String
  package var address: String
  /// `A`, `B` or `C`.
  package var mode: String
  package var counts: Bool
  package var sinceSeconds: UInt64
  /// Empty when there is none.
  package var connection: String
  package var lastEnd: String
  package var receivedNumber: UInt64
  package var loggedNumber: UInt64
  package var durableNumber: UInt64
  package var copiedUnitCount: UInt64
  package var copyUnitCount: UInt64
  /// How far a copy is that is under way.
  package var copy: PassReport?
  /// The last comparison of everything with it.
  package var verification: VerificationReport?
}

extension ReplicationReport {
  init(_ status: ReplicationStatus) {
    role = status.role.name
    lossPolicy = status.lossPolicy.name
    isConsistent = status.isConsistent
    isHandedOver = status.isHandedOver
    refusal = status.refusal
    divergence = status.divergence
    stoppedSinceSeconds = status.stoppedSinceSeconds
    number = status.number
    durableNumber = status.durableNumber
    timelineCount = UInt64(clamping: status.timelineCount)
    peers = status.peers.map { peer in
      PeerReport(
        nodeID: peer.nodeID.description, address: peer.address, mode: peer.mode.name,
        counts: peer.counts, sinceSeconds: peer.sinceSeconds, connection: peer.connection,
        lastEnd: peer.lastEnd, receivedNumber: peer.receivedNumber,
        loggedNumber: peer.loggedNumber, durableNumber: peer.durableNumber,
        copiedUnitCount: peer.copiedUnitCount, copyUnitCount: peer.copyUnitCount,
        copy: peer.copyUnitCount > 0 ? PassReport(copying: peer, status.byteCount) : nil,
        verification: peer.verification.map { VerificationReport($0) })
    }
  }

  /// The object under `"replication"` of an array.
  var json: JSONValue {
    [
      "role": .string(role), "on_peer_loss": .string(lossPolicy),
      "consistent": .bool(isConsistent), "handed_over": .bool(isHandedOver),
      "refusal": .string(refusal), "divergence": .string(divergence),
      "stopped_since_unix_seconds": stoppedSinceSeconds.map { .count($0) } ?? .null,
      "record": .count(number), "durable_record": .count(durableNumber),
      "timelines": .count(timelineCount), "peers": .array(peers.map(\.json)),
    ]
  }

  /// Reads what `json` wrote.
  init(_ reader: JSONReader) throws(ControlError) {
    role = try reader.string("role")
    lossPolicy = try reader.string("on_peer_loss")
    isConsistent = try reader.bool("consistent")
    isHandedOver = try reader.bool("handed_over")
    refusal = try reader.string("refusal")
    divergence = try reader.string("divergence")
    stoppedSinceSeconds = try reader.optionalCount("stopped_since_unix_seconds")
    number = try reader.count("record")
    durableNumber = try reader.count("durable_record")
    timelineCount = try reader.count("timelines")
    peers = try reader.objects("peers") { element throws(ControlError) in
      try PeerReport(element)
    }
  }
}

extension PassReport {
  /// A copy to a peer, of a device of so many bytes.
  fileprivate init(copying peer: PeerStatus, _ byteCount: UInt64) {
    let (done, all) = (min(peer.copiedUnitCount, peer.copyUnitCount), peer.copyUnitCount)
    let product = byteCount.multipliedFullWidth(by: done)
    self.init(
      donePages: done, pages: all, doneBytes: all.dividingFullWidth(product).quotient,
      byteCount: byteCount, bytesPerSecond: peer.copyBytesPerSecond,
      secondsLeftMin: peer.copySecondsLeft?.lowerBound,
      secondsLeftMax: peer.copySecondsLeft?.upperBound, isPaused: false)
  }
}

extension PeerReport {
  fileprivate var json: JSONValue {
    [
      "id": .string(nodeID), "address": .string(address), "mode": .string(mode),
      "counts": .bool(counts), "since_unix_seconds": .count(sinceSeconds),
      "connection": .string(connection), "last_end": .string(lastEnd),
      "received_record": .count(receivedNumber), "logged_record": .count(loggedNumber),
      "durable_record": .count(durableNumber), "copied_units": .count(copiedUnitCount),
      "copy_units": .count(copyUnitCount),
      "copy": copy.map { .object($0.members) } ?? .null,
      "verify": verification?.json ?? .null,
    ]
  }

  fileprivate init(_ reader: JSONReader) throws(ControlError) {
    nodeID = try reader.string("id")
    address = try reader.string("address")
    mode = try reader.string("mode")
    counts = try reader.bool("counts")
    sinceSeconds = try reader.count("since_unix_seconds")
    connection = try reader.string("connection")
    lastEnd = try reader.string("last_end")
    receivedNumber = try reader.count("received_record")
    loggedNumber = try reader.count("logged_record")
    durableNumber = try reader.count("durable_record")
    copiedUnitCount = try reader.count("copied_units")
    copyUnitCount = try reader.count("copy_units")
    copy = try reader.optionalObject("copy").map { object throws(ControlError) in
      try PassReport(object)
    }
    verification = try reader.optionalObject("verify").map { object throws(ControlError) in
      try VerificationReport(object)
    }
  }
}
