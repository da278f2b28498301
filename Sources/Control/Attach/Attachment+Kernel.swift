import Glibc
import IO

// The kernel's own NBD client, set up by nbd-client.

extension Attachment {
  /// Whether the kernel has an NBD client.
  package static var kernelHasClient: Bool { SmallFile.exists("/dev/nbd0") }

  func attachByKernel(
    _ request: AttachRequest, _ undo: inout UndoList
  ) throws(AttachError) -> AttachRecord {
    _ = try Tool.nbdClient.path()
    let expected = try expectedByteCount(request)
    let device = try chosenDevice(request)
    var arguments = try serverArguments(request.address)
    arguments += ["-C", "\(request.connectionCount)", "-b", "\(request.blockBytes)"]
    arguments += ["-timeout", "\(request.requestTimeoutSeconds)"]
    if request.isReadOnly { arguments.append("-readonly") }
    arguments.append(device.path)
    // Also when nbd-client fails: it may have got half way.
    undo.add { disconnectQuietly(device) }
    _ = try run(.nbdClient, arguments)
    let isThere = deadline.wait {
      device.isConnected && (expected.map { device.byteCount == $0 } ?? (device.byteCount > 0))
    }
    guard isThere else {
      let wanted = expected.map { "\($0)" } ?? "some"
      throw AttachError(
        "\(device.path) has \(device.byteCount) bytes instead of \(wanted): check the server with "
          + "'ashlar status', or wait longer with --timeout")
    }
    return AttachRecord(
      name: request.name, kind: .kernel, device: device.path, byteCount: device.byteCount,
      isReadOnly: request.isReadOnly, uri: request.address.uri)
  }

  func detachFromKernel(_ record: AttachRecord, isForced: Bool) throws(AttachError) {
    guard let device = BlockDevice(path: record.device), device.exists, device.isConnected else {
      return
    }
    try releaseUses(device, record.name, isForced: isForced)
    _ = try run(.nbdClient, ["-d", device.path])
    // nbd-client returns before the device is free.
    guard deadline.wait(until: { isFree(device) }) else {
      throw AttachError(
        "\(device.path) is not free yet: look who uses it, then run 'ashlar detach "
          + "\(record.name)' again")
    }
  }

  /// What the device's size must come to; nil when nobody here can ask the server.
  private func expectedByteCount(_ request: AttachRequest) throws(AttachError) -> UInt64? {
    guard Tool.nbdinfo.isInstalled else { return nil }
    let byteCount = try exportByteCount(request.address)
    let blockBytes = UInt64(request.blockBytes)
    guard byteCount >= blockBytes else {
      throw AttachError("the export has \(byteCount) bytes, less than one block of \(blockBytes)")
    }
    if byteCount % blockBytes != 0 {
      note("the last \(byteCount % blockBytes) bytes do not fill a block and cannot be reached")
    }
    return byteCount / blockBytes * blockBytes
  }

  private func chosenDevice(_ request: AttachRequest) throws(AttachError) -> BlockDevice {
    if let device = request.device {
      guard SmallFile.exists(device.path), device.exists else {
        throw AttachError(
          "there is no \(device.path): load the kernel's client with 'modprobe nbd', or take "
            + "another device")
      }
      guard isFree(device) else {
        throw AttachError("\(device.path) is taken: leave out --device to get a free one")
      }
      return device
    }
    for index in 0..<1024 {
      guard let device = BlockDevice(path: "/dev/nbd\(index)"), device.exists else { break }
      if isFree(device) { return device }
    }
    throw AttachError(
      "every /dev/nbd device is taken: detach one, or load the module with more, "
        + "'modprobe nbd nbds_max=64'")
  }

  /// The kernel's word and nbd-client's: with netlink the latter alone may lag.
  private func isFree(_ device: BlockDevice) -> Bool {
    guard !device.isConnected, let path = Subprocess.find(Tool.nbdClient.name) else { return false }
    let outcome = try? Subprocess.run(
      path, ["-c", device.path], until: Deadline(afterNanoseconds: 5_000_000_000))
    return outcome?.status == 1
  }

  private func serverArguments(_ address: NBDAddress) throws(AttachError) -> [String] {
    switch address.transport {
    case .unix(let path): return ["-unix", path, "-N", address.export]
    case .tcp(let host, let port): return ["-N", address.export, host, port]
    case .other:
      throw AttachError(
        "the kernel's client cannot reach \(address.uri): use --fuse, which takes every NBD URI")
    }
  }

  private func disconnectQuietly(_ device: BlockDevice) {
    guard device.isConnected, let path = Subprocess.find(Tool.nbdClient.name) else { return }
    let limit = Deadline(afterNanoseconds: 5_000_000_000)
    _ = try? Subprocess.run(path, ["-d", device.path], until: limit)
    _ = limit.wait { isFree(device) }
  }
}
