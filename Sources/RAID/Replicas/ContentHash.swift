import DiskFormat
package import IO

/// What a node holds in one block of its device, as far as a comparison goes.
package enum BlockContent: Equatable, Sendable {
  case neverWritten
  /// Content with this hash.
  case written(hash: UInt64)
  /// It cannot be read: beyond what redundancy repairs.
  case lost
}

/// A hash of a block's content, for comparing what two nodes have.
///
/// CRC32C will not do: whoever ends his data with its CRC32C, as PostgreSQL does in `pg_control`, has the
/// same CRC32C for every version of it, and a comparison would leave an old one in place. That holds
/// for every CRC, since all are linear; so this multiplies. It is no defence against somebody who
/// means to collide. Each comparison has a salt of its own, so that what one misses the next finds.
package enum ContentHash {
  /// Of a block of zeros: what was never written reads as one.
  package static func ofZeros(salt: UInt64) -> UInt64 {
    var state = salt ^ 0x9e37_79b9_7f4a_7c15
    for _ in 0..<512 {
      state = state &* 0xff51_afd7_ed55_8ccd
      state ^= state >> 32
    }
    return finished(state)
  }

  package static func hash(_ block: IOBuffer, salt: UInt64) -> UInt64 {
    var state = salt ^ 0x9e37_79b9_7f4a_7c15
    var offset = 0
    while offset + 8 <= block.byteCount {
      state = (state ^ block.loadUInt64(at: offset)) &* 0xff51_afd7_ed55_8ccd
      state ^= state >> 32
      offset += 8
    }
    return finished(state)
  }

  private static func finished(_ state: UInt64) -> UInt64 {
    let mixed = (state ^ (state >> 29)) &* 0xc4ce_b9fe_1a85_ec53
    return mixed ^ (mixed >> 32)
  }
}
