package import IO
import Units

/// A file or block device, worked on directly through the seam.
package struct DiskTarget<TargetDisk: Disk>: BenchTarget {
  package let byteCount: UInt64
  package let description: String
  private let disk: TargetDisk

  /// - Parameters:
  ///   - disk: opened for writing unless all jobs only read.
  ///   - byteCount: how much of it there is.
  ///   - description: for the report.
  package init(disk: TargetDisk, byteCount: UInt64, description: String) {
    self.disk = disk
    self.byteCount = byteCount
    self.description = description
  }

  package var alignmentBytes: Int { disk.properties.alignmentBytes }

  package func read(at offsetBytes: UInt64, into buffer: IOBuffer) async throws(TargetError) {
    do throws(DiskError) {
      try await disk.read(at: offsetBytes, into: buffer)
    } catch {
      throw Self.targetError("read", offsetBytes, error)
    }
  }

  package func write(at offsetBytes: UInt64, from buffer: IOBuffer) async throws(TargetError) {
    do throws(DiskError) {
      try await disk.write(at: offsetBytes, from: buffer)
    } catch {
      throw Self.targetError("write", offsetBytes, error)
    }
  }

  package func flush(isDataOnly: Bool) async throws(TargetError) {
    do throws(DiskError) {
      if isDataOnly { try await disk.synchronize() } else { try await disk.synchronizeAll() }
    } catch {
      throw Self.targetError(isDataOnly ? "fdatasync" : "fsync", nil, error)
    }
  }

  package func trim(at offsetBytes: UInt64, byteCount: UInt64) async throws(TargetError) {
    do throws(DiskError) {
      guard let range = ByteRange(offsetBytes: offsetBytes, byteCount: byteCount) else {
        throw DiskError.refused(.invalidArgument)
      }
      try await disk.clear(range, mode: .punchHole)
    } catch {
      throw Self.targetError("trim", offsetBytes, error)
    }
  }

  package func close() async { await disk.close() }

  private static func targetError(
    _ operation: String, _ offsetBytes: UInt64?, _ error: DiskError
  ) -> TargetError {
    let place = offsetBytes.map { " at offset \($0)" } ?? ""
    switch error {
    case .refused(let reason):
      return .refused(reason: "\(operation)\(place): \(reason)")
    case .endedEarly(let end):
      return .refused(reason: "\(operation)\(place): it ends at \(end): somebody truncated it")
    case .noProgress:
      return .refused(reason: "\(operation)\(place): the kernel makes no progress")
    }
  }
}
