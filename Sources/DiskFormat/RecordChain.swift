import Parity

/// The checksum that covers all client records up to one (rule C1).
///
/// CRC32C over words: the chain before, number, kind, first block, count, and the checksum of each
/// block. It is not stored with records: whoever has them computes it, and superblocks tell it where
/// the log begins.
package enum RecordChain {
  /// Behind a write.
  package static func after(
    _ chain: UInt32, write run: BlockRun, number: UInt64, checksum: (Int) -> UInt32
  ) -> UInt32 {
    var crc = begin(chain, kind: LogRecord.Kind.write, run, number)
    let count = Int(truncatingIfNeeded: run.blockCount)
    var index = 0
    while index < count {
      let low = UInt64(checksum(index))
      let high = index + 1 < count ? UInt64(checksum(index + 1)) : 0
      crc.update(low | high << 32)
      index += 2
    }
    return crc.value
  }

  /// Behind a trim.
  package static func after(_ chain: UInt32, trim run: BlockRun, number: UInt64) -> UInt32 {
    begin(chain, kind: LogRecord.Kind.trim, run, number).value
  }

  private static func begin(
    _ chain: UInt32, kind: LogRecord.Kind, _ run: BlockRun, _ number: UInt64
  ) -> CRC32C {
    var crc = CRC32C()
    crc.update(UInt64(chain) | UInt64(kind.rawValue) << 32)
    crc.update(number)
    crc.update(run.firstBlock)
    crc.update(run.blockCount)
    return crc
  }
}
