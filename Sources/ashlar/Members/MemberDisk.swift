import IO
import NBDClient
import Ring

/// A member's disk: a file or block device, or an export of an NBD server.
///
/// One type for an array that mixes them; each operation is a switch and no more.
enum MemberDisk: Disk {
  case file(RingDisk)
  case export(NBDDisk<RingMachine>)

  var properties: DiskProperties {
    switch self {
    case .file(let disk): disk.properties
    case .export(let disk): disk.properties
    }
  }

  func readSome(at offsetBytes: UInt64, into buffer: IOBuffer) async -> Int32 {
    switch self {
    case .file(let disk): await disk.readSome(at: offsetBytes, into: buffer)
    case .export(let disk): await disk.readSome(at: offsetBytes, into: buffer)
    }
  }

  func readAtOnce(at offsetBytes: UInt64, into buffer: IOBuffer) -> Int32 {
    switch self {
    case .file(let disk): disk.readAtOnce(at: offsetBytes, into: buffer)
    case .export(let disk): disk.readAtOnce(at: offsetBytes, into: buffer)
    }
  }

  func writeSome(at offsetBytes: UInt64, from buffer: IOBuffer) async -> Int32 {
    switch self {
    case .file(let disk): await disk.writeSome(at: offsetBytes, from: buffer)
    case .export(let disk): await disk.writeSome(at: offsetBytes, from: buffer)
    }
  }

  func synchronizeOnce() async -> Int32 {
    switch self {
    case .file(let disk): await disk.synchronizeOnce()
    case .export(let disk): await disk.synchronizeOnce()
    }
  }

  func synchronizeAllOnce() async -> Int32 {
    switch self {
    case .file(let disk): await disk.synchronizeAllOnce()
    case .export(let disk): await disk.synchronizeAllOnce()
    }
  }

  func clearOnce(at offsetBytes: UInt64, byteCount: UInt64, mode: ClearMode) async -> Int32 {
    switch self {
    case .file(let disk):
      await disk.clearOnce(at: offsetBytes, byteCount: byteCount, mode: mode)
    case .export(let disk):
      await disk.clearOnce(at: offsetBytes, byteCount: byteCount, mode: mode)
    }
  }

  func prefetchOnce(at offsetBytes: UInt64, byteCount: UInt64) async -> Int32 {
    switch self {
    case .file(let disk): await disk.prefetchOnce(at: offsetBytes, byteCount: byteCount)
    case .export(let disk): await disk.prefetchOnce(at: offsetBytes, byteCount: byteCount)
    }
  }

  func extentOnce(at offsetBytes: UInt64) async -> Result<DiskExtent, SystemError> {
    switch self {
    case .file(let disk): await disk.extentOnce(at: offsetBytes)
    case .export(let disk): await disk.extentOnce(at: offsetBytes)
    }
  }

  func currentByteCount() -> Result<UInt64, SystemError> {
    switch self {
    case .file(let disk): disk.currentByteCount()
    case .export(let disk): disk.currentByteCount()
    }
  }

  func retire() async {
    switch self {
    case .file(let disk): await disk.retire()
    case .export(let disk): await disk.retire()
    }
  }

  func revive() async -> Bool {
    switch self {
    case .file(let disk): await disk.revive()
    case .export(let disk): await disk.revive()
    }
  }

  func close() async {
    switch self {
    case .file(let disk): await disk.close()
    case .export(let disk): await disk.close()
    }
  }
}
