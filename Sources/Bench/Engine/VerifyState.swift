import IO
import Parity
import Units

/// How often a run has written each block, kept in a file for a later run: `verify_state_save`.
///
/// With it a later run knows the exact generation of each block, and so finds a stale one, which
/// is valid in itself.
///
/// Little-endian: the magic (16 bytes), seed, run, block size, offset and count of blocks (8 bytes
/// each), 4 bytes for each block, and the CRC32C of all that.
package struct VerifyState: Equatable, Sendable {
  package let seed: UInt64
  package let run: UInt64
  package let blockByteCount: UInt64
  package let offsetBytes: UInt64
  /// 0: not written by that run; `unknown`: a write of it failed.
  package let generations: [UInt32]

  static let unknown = UInt32.max
  private static let magic: [UInt8] = Array("ashlar verify 1\n".utf8)
  private static let headerByteCount = 56

  /// What `Verifier.state` has found out.
  package init(
    seed: UInt64, run: UInt64, blockByteCount: UInt64, offsetBytes: UInt64, generations: [UInt32]
  ) {
    self.seed = seed
    self.run = run
    self.blockByteCount = blockByteCount
    self.offsetBytes = offsetBytes
    self.generations = generations
  }

  /// What a block must hold; nothing is asked of those that the run did not write.
  func expectation(at offset: UInt64) -> BlockExpectation {
    guard offset >= offsetBytes else { return .anything }
    let index = (offset - offsetBytes) / blockByteCount
    guard index < UInt64(generations.count) else { return .anything }
    let generation = generations[Int(index)]
    return generation == 0 || generation == Self.unknown ? .anything : .exactly(generation)
  }

  /// Why a job cannot be checked against this, in the terms of its options; nil when it can.
  ///
  /// Blocks that begin elsewhere than those that were written would all look misplaced.
  package func objection(to options: JobOptions) -> String? {
    guard options.blockByteCountMin == blockByteCount else {
      return "the saved state is of blocks of \(blockByteCount) bytes: use "
        + "--bs=\(ByteSize.formatExactly(blockByteCount))"
    }
    let (low, high) = (
      min(options.offsetBytes, offsetBytes), max(options.offsetBytes, offsetBytes)
    )
    guard (high - low) % blockByteCount == 0 else {
      return "the saved state is of blocks that begin at \(offsetBytes) and every "
        + "\(blockByteCount) bytes from there: give an --offset where one of them begins"
    }
    return nil
  }

  /// The file's bytes.
  package var encoded: [UInt8] {
    var bytes = Self.magic
    for number in [seed, run, blockByteCount, offsetBytes, UInt64(generations.count)] {
      Self.append(number, 8, to: &bytes)
    }
    for generation in generations { Self.append(UInt64(generation), 4, to: &bytes) }
    Self.append(UInt64(Self.checksum(bytes)), 4, to: &bytes)
    return bytes
  }

  private static func checksum(_ bytes: [UInt8]) -> UInt32 {
    // Safe: every byte of the array is initialised; the view ends before the array does.
    unsafe CRC32C.checksum(bytes.span.bytes)
  }

  private static func append(_ number: UInt64, _ count: UInt64, to bytes: inout [UInt8]) {
    for shift in 0..<count { bytes.append(UInt8(truncatingIfNeeded: number >> (8 * shift))) }
  }

  /// Reads a file's bytes.
  ///
  /// - Throws: in words that complete "FILE ...".
  package init(decoding bytes: [UInt8]) throws(VerifyStateError) {
    let header = Self.headerByteCount
    guard bytes.count >= header + 4, Array(bytes[..<16]) == Self.magic else {
      throw VerifyStateError("is not what --verify_state_save writes")
    }
    func number(_ start: Int, _ count: Int) -> UInt64 {
      (0..<count).reduce(0) { $0 | UInt64(bytes[start + $1]) << UInt64(8 * $1) }
    }
    let body = bytes.count - 4
    guard number(body, 4) == UInt64(Self.checksum(Array(bytes[..<body]))) else {
      throw VerifyStateError("is damaged: its checksum is wrong")
    }
    let count = number(48, 8)
    guard count == UInt64(body - header) / 4, (body - header) % 4 == 0, number(32, 8) > 0 else {
      throw VerifyStateError("is damaged: its lengths do not agree")
    }
    seed = number(16, 8)
    run = number(24, 8)
    blockByteCount = number(32, 8)
    offsetBytes = number(40, 8)
    generations = (0..<Int(count)).map { UInt32(truncatingIfNeeded: number(header + $0 * 4, 4)) }
  }
}

/// Why a file is no saved state; completes "FILE ...".
package struct VerifyStateError: Error, Equatable, Sendable {
  package let reason: String

  init(_ reason: String) {
    self.reason = reason
  }
}
