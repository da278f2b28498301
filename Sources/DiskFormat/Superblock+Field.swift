extension Superblock {
  /// The parts of a superblock.
  package enum Field: String, FormatField {
    case magic, version, checksum, arrayID, memberID
    case slot, memberCount, level, isClean, nameByteCount, timelineCount, configurationHistoryCount
    case logPolicy
    case chunkBytes, memberBlockCount, createdSeconds
    case logOffset, logByteCount, tableOffset, tableByteCount, mapOffset, mapByteCount, dataOffset
    case eventCount, configurationID
    case superblockSequence, logEpoch, epochFirstSequence, checkpointSequence, checkpointChain
    case checkpointClientChain, checkpointClientSequence, logTailOffset, horizon, pageSequence
    case ownerNonce, heartbeat
    case name, memberStates, memberIDs, timelines, configurationHistory
    case reserveIDs, reserveTargets
    case timelineChains, role, lossPolicy, replicationFlags, peerCount, peerTimeoutMilliseconds,
      peers, undoID
    case reserved3

    package var byteRange: Range<Int> {
      switch self {
      case .magic: 0..<8
      case .version: 8..<12
      case .checksum: 12..<16
      case .arrayID: 16..<32
      case .memberID: 32..<48
      case .slot: 48..<49
      case .memberCount: 49..<50
      case .level: 50..<51
      case .isClean: 51..<52
      case .nameByteCount: 52..<53
      case .timelineCount: 53..<54
      case .configurationHistoryCount: 54..<55
      case .logPolicy: 55..<56
      case .chunkBytes: 56..<64
      case .memberBlockCount: 64..<72
      case .createdSeconds: 72..<80
      case .logOffset: 80..<88
      case .logByteCount: 88..<96
      case .tableOffset: 96..<104
      case .tableByteCount: 104..<112
      case .mapOffset: 112..<120
      case .mapByteCount: 120..<128
      case .dataOffset: 128..<136
      case .eventCount: 136..<144
      case .configurationID: 144..<160
      case .superblockSequence: 160..<168
      case .logEpoch: 168..<176
      case .epochFirstSequence: 176..<184
      case .checkpointSequence: 184..<192
      case .checkpointChain: 192..<196
      case .checkpointClientChain: 196..<200
      case .checkpointClientSequence: 200..<208
      case .logTailOffset: 208..<216
      case .horizon: 216..<224
      case .pageSequence: 224..<232
      case .ownerNonce: 232..<248
      case .heartbeat: 248..<256
      case .name: 256..<320
      case .memberStates: 320..<352
      case .memberIDs: 352..<864
      case .timelines: 864..<1248
      case .configurationHistory: 1248..<1760
      case .reserveIDs: 1760..<1888
      case .reserveTargets: 1888..<1896
      case .timelineChains: 1896..<1960
      case .role: 1960..<1961
      case .lossPolicy: 1961..<1962
      case .replicationFlags: 1962..<1963
      case .peerCount: 1963..<1964
      case .peerTimeoutMilliseconds: 1964..<1968
      case .peers: 1968..<2736
      case .undoID: 2736..<2752
      case .reserved3: 2752..<4096
      }
    }
  }

  /// Bytes of one timeline: its identifier, then the sequence number of its fork.
  static let timelineBytes = 24
}
