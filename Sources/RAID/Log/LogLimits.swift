import DiskFormat
import Geometry

/// Sizes that follow from the log region, the geometry and the options.
struct LogLimits {
  /// The smallest log region that a batch of the longest write and its intents fit into with ease.
  static let regionBytesMin: UInt64 = 1 << 20

  let regionBytes: UInt64
  /// Room for header and descriptors of a batch.
  let headerBytesMax: Int
  let payloadBlockCountMax: Int
  /// Blocks of one batch that may need intents.
  let unsettledBlockCountMax: Int
  /// The descriptor of one block's intent at worst; 0 where there are none.
  let intentBytes: Int
  let rowsPerRound: Int

  init(geometry: StripeGeometry, layout: MemberLayout, options: ArrayOptions) {
    precondition(layout.logByteCount >= Self.regionBytesMin, "the log is too small")
    regionBytes = layout.logByteCount
    let share = Int(clamping: layout.logByteCount / 32) & ~4095
    headerBytesMax = min(LogBatchHeader.headerBytesMax, share)
    let eighth = Int(clamping: layout.logByteCount / 8 / 4096)
    payloadBlockCountMax = max(32, min(options.batchPayloadBlockCountMax, eighth))
    intentBytes =
      geometry.parityCount == 0
      ? 0
      : LogBatchEncoder.intentRecordBytes(
        dataCount: geometry.dataCount, parityCount: geometry.parityCount)
    rowsPerRound = max(1, options.destageRowCountMax)
    let room = Int(clamping: layout.logByteCount / 8) / max(1, intentBytes)
    unsettledBlockCountMax = intentBytes == 0 ? .max : max(payloadBlockCountMax, room)
  }

  var batchBytesMax: Int { headerBytesMax + payloadBlockCountMax * 4096 }

  /// What header and runs leave for descriptors in a batch with a copy on each member.
  func descriptorBytesMax(memberCount: Int) -> Int {
    headerBytesMax
      - LogBatchEncoder.fixedBytes(
        copyCount: memberCount, previousRunCount: LogBatchEncoder.previousRunCountMax)
  }

  /// The log space that intents of so many blocks may take on each member that has a copy (L5):
  /// one for each, and a header for each round.
  func intentReserve(blockCount: Int) -> UInt64 {
    guard intentBytes > 0 else { return 0 }
    let fixed = LogBatchEncoder.fixedBytes(
      copyCount: StripeGeometry.memberCountMax,
      previousRunCount: LogBatchEncoder.previousRunCountMax)
    let perRound = (fixed + 4095 + 4095) & ~4095
    let roundCount = blockCount / rowsPerRound + blockCount * intentBytes / headerBytesMax + 2
    return UInt64(blockCount * intentBytes + roundCount * perRound)
  }

  /// What is kept free on each member besides: a batch of intents that does not fit before the
  /// region's end, and a round that has to be made twice because a member went out.
  var reserveSlack: UInt64 { intentBytes == 0 ? 0 : UInt64(2 * headerBytesMax) }
}
