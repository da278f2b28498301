import CISAL
import IO
import Parity

/// One computation on buffers of one size, to be called so many times, in both ways.
struct Kernel {
  let name: String
  let byteCount: Int
  /// What is read, of data: what a rate counts.
  let bytesPerCall: Int
  let ours: (Int) -> Void
  let direct: (Int) -> Void
}

/// The computations of the array's own paths, on buffers that all share.
///
/// Our way does per call what the array does per row: views the buffers and fills the table of
/// addresses. The direct way has its table ready.
final class Kernels {
  private static let dataCount = 4
  private static let byteCounts = [4 << 10, 64 << 10, 1 << 20]
  private static let byteCountMax = 1 << 20
  /// Data, then P and Q of our way, then those of the direct way.
  private static let bufferCount = dataCount + 4
  static let memoryByteCount = bufferCount * byteCountMax

  private let memory: AlignedMemory
  private let vectors = ParityVectors(byteCountMax: byteCountMax)
  /// Keeps the checksums from being optimised away.
  private var checksum: UInt32 = 0

  init(_ memory: AlignedMemory) {
    self.memory = memory
    var state: UInt32 = 1
    let buffer = memory.buffer
    let bytes = (0..<Self.memoryByteCount).map { _ in
      state = state &* 1_664_525 &+ 1_013_904_223
      return UInt8(truncatingIfNeeded: state >> 24)
    }
    buffer.copy(from: bytes)
  }

  var all: [Kernel] {
    Self.byteCounts.flatMap { [xor($0), generatePQ($0), update($0), add($0), crc32c($0)] }
  }

  /// Whether both ways leave the same P and Q.
  func agree() -> Bool {
    Self.byteCounts.allSatisfy { byteCount in
      let kernel = generatePQ(byteCount)
      kernel.ours(1)
      kernel.direct(1)
      return (0..<2).allSatisfy { index in
        let ours = buffer(Self.dataCount + index, byteCount)
        let direct = buffer(Self.dataCount + 2 + index, byteCount)
        return CRC32C.checksum(ours.bytes) == CRC32C.checksum(direct.bytes)
      }
    }
  }

  private func buffer(_ index: Int, _ byteCount: Int) -> IOBuffer {
    let buffer = memory.buffer
    return buffer.slice(index * byteCount, byteCount)
  }

  private func parity(_ buffer: IOBuffer) -> ParityBuffer {
    // Safe: the memory lives as long as the kernels.
    unsafe ParityBuffer(buffer.baseAddress, byteCount: buffer.byteCount)
  }

  private func data(_ byteCount: Int) -> [IOBuffer] {
    (0..<Self.dataCount).map { buffer($0, byteCount) }
  }

  /// The addresses of the data and of the direct way's P and Q.
  private func table(
    _ byteCount: Int, targetCount: Int
  ) -> UnsafeMutablePointer<UnsafeMutableRawPointer?> {
    let count = Self.dataCount + targetCount
    let table = UnsafeMutablePointer<UnsafeMutableRawPointer?>.allocate(capacity: count)
    for index in 0..<Self.dataCount {
      // Safe: inside what was allocated; never freed, the program ends with it.
      unsafe (table + index).initialize(to: buffer(index, byteCount).baseAddress)
    }
    for index in 0..<targetCount {
      let target = buffer(Self.dataCount + 2 + index, byteCount)
      unsafe (table + Self.dataCount + index).initialize(to: target.baseAddress)
    }
    return unsafe table
  }

  // MARK: The kernels

  private func xor(_ byteCount: Int) -> Kernel {
    let data = data(byteCount)
    let p = buffer(Self.dataCount, byteCount)
    let table = unsafe table(byteCount, targetCount: 1)
    return Kernel(
      name: "xor", byteCount: byteCount, bytesPerCall: Self.dataCount * byteCount,
      ours: { [self] calls in
        for _ in 0..<calls {
          vectors.removeAll()
          for block in data { vectors.append(parity(block)) }
          vectors.generateP(into: parity(p))
        }
      },
      direct: { calls in
        // Safe: the table has four sources and a target of that length.
        for _ in 0..<calls {
          unsafe _ = xor_gen(Int32(Self.dataCount + 1), Int32(byteCount), table)
        }
      })
  }

  private func generatePQ(_ byteCount: Int) -> Kernel {
    let data = data(byteCount)
    let p = buffer(Self.dataCount, byteCount)
    let q = buffer(Self.dataCount + 1, byteCount)
    let table = unsafe table(byteCount, targetCount: 2)
    return Kernel(
      name: "pq", byteCount: byteCount, bytesPerCall: Self.dataCount * byteCount,
      ours: { [self] calls in
        for _ in 0..<calls {
          vectors.removeAll()
          for block in data { vectors.append(parity(block)) }
          vectors.generatePQ(p: parity(p), q: parity(q))
        }
      },
      direct: { calls in
        // Safe: the table has four sources and two targets of that length.
        for _ in 0..<calls {
          unsafe _ = pq_gen(Int32(Self.dataCount + 2), Int32(byteCount), table)
        }
      })
  }

  private func update(_ byteCount: Int) -> Kernel {
    let delta = buffer(1, byteCount)
    let p = buffer(Self.dataCount, byteCount)
    let q = buffer(Self.dataCount + 1, byteCount)
    let multipliers = UnsafeMutablePointer<UInt8>.allocate(capacity: 64)
    let targets = UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>.allocate(capacity: 2)
    let source = unsafe delta.baseAddress.assumingMemoryBound(to: UInt8.self)
    for index in 0..<2 {
      let target = buffer(Self.dataCount + 2 + index, byteCount)
      // Safe: inside what was allocated; never freed, the program ends with it.
      unsafe (targets + index).initialize(
        to: target.baseAddress.assumingMemoryBound(to: UInt8.self))
    }
    var coefficients: [UInt8] = [1, GaloisField.power(1)]
    // Safe: room for the tables of two coefficients.
    unsafe ec_init_tables(1, 2, &coefficients, multipliers)
    return Kernel(
      name: "update", byteCount: byteCount, bytesPerCall: byteCount,
      ours: { [self] calls in
        for _ in 0..<calls {
          ParityMath.update(p: parity(p), q: parity(q), index: 1, delta: parity(delta))
        }
      },
      direct: { calls in
        // Safe: one source and two targets of that length, and tables for them.
        for _ in 0..<calls {
          unsafe ec_encode_data_update(Int32(byteCount), 1, 2, 0, multipliers, source, targets)
        }
      })
  }

  private func add(_ byteCount: Int) -> Kernel {
    let source = buffer(0, byteCount)
    let target = buffer(Self.dataCount, byteCount)
    let direct = buffer(Self.dataCount + 2, byteCount)
    let table = UnsafeMutablePointer<UnsafeMutableRawPointer?>.allocate(capacity: 3)
    // Safe: inside what was allocated; never freed, the program ends with it.
    unsafe table.initialize(to: source.baseAddress)
    unsafe (table + 1).initialize(repeating: direct.baseAddress, count: 2)
    return Kernel(
      name: "add", byteCount: byteCount, bytesPerCall: byteCount,
      ours: { [self] calls in
        for _ in 0..<calls { ParityMath.xor(parity(source), into: parity(target)) }
      },
      direct: { calls in
        // Safe: two sources, and a target that is the second of them.
        for _ in 0..<calls { unsafe _ = xor_gen(3, Int32(byteCount), table) }
      })
  }

  private func crc32c(_ byteCount: Int) -> Kernel {
    let block = buffer(0, byteCount)
    let address = unsafe block.baseAddress.assumingMemoryBound(to: UInt8.self)
    return Kernel(
      name: "crc32c", byteCount: byteCount, bytesPerCall: byteCount,
      ours: { [self] calls in
        for _ in 0..<calls { checksum &+= CRC32C.checksum(block.bytes) }
      },
      direct: { [self] calls in
        // Safe: reads the block.
        for _ in 0..<calls {
          unsafe checksum &+= crc32_iscsi(address, Int32(byteCount), .max)
        }
      })
  }
}
