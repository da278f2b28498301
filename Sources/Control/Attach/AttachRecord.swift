package import IO
import Units

/// Where a device is attached, kept in `NAME.attach` from attach to detach.
///
/// It only helps to find things again: detach checks each against the kernel before it undoes it,
/// because numbers are reused and a host may have been restarted in between.
package struct AttachRecord: Equatable, Sendable {
  /// What makes the block device, and so how it is undone.
  package enum Kind: String, Equatable, Sendable {
    /// The kernel's NBD client.
    case kernel
    /// nbdfuse and a loop device.
    case fuse
  }

  package var name: String
  package var kind: Kind
  /// For example `/dev/loop3` or `/dev/nbd0`.
  package var device: String
  package var byteCount: UInt64
  package var isReadOnly: Bool
  /// The NBD URI that it was attached from.
  package var uri: String
  /// Of the boot in which it was attached.
  package var bootID: String
  /// The folder on which nbdfuse is mounted; empty for the kernel's client.
  package var folder: String
  /// nbdfuse; 0 for the kernel's client.
  package var processID: Int32
  package var processStartTicks: UInt64

  package static var currentBootID: String {
    SmallFile.text("/proc/sys/kernel/random/boot_id") ?? ""
  }

  package var isOfThisBoot: Bool { bootID == Self.currentBootID }

  /// For `status`.
  package var summary: String {
    let how = kind == .kernel ? "by the kernel's NBD client" : "by nbdfuse and a loop device"
    return "\(device), \(ByteSize.format(byteCount)), \(how)\(isReadOnly ? ", read-only" : "")"
  }

  package var json: JSONValue {
    [
      "version": .integer(1), "name": .string(name), "kind": .string(kind.rawValue),
      "device": .string(device), "byte_count": .count(byteCount), "read_only": .bool(isReadOnly),
      "uri": .string(uri), "boot_id": .string(bootID), "folder": .string(folder),
      "pid": .integer(Int64(processID)), "pid_start_ticks": .count(processStartTicks),
    ]
  }

  /// Reads what `json` wrote.
  ///
  /// - Returns: nil when something is missing, or of a version that is not known.
  package init?(_ json: JSONValue) {
    guard json["version"]?.integer == 1, let name = json["name"]?.string,
      let kind = json["kind"]?.string.flatMap({ Kind(rawValue: $0) }),
      let device = json["device"]?.string, let byteCount = json["byte_count"]?.integer,
      let isReadOnly = json["read_only"]?.bool, let uri = json["uri"]?.string,
      let bootID = json["boot_id"]?.string, let folder = json["folder"]?.string,
      let processID = json["pid"]?.integer, let ticks = json["pid_start_ticks"]?.integer,
      byteCount >= 0, ticks >= 0, let narrowID = Int32(exactly: processID)
    else { return nil }
    self.init(
      name: name, kind: kind, device: device, byteCount: UInt64(byteCount),
      isReadOnly: isReadOnly, uri: uri, bootID: bootID, folder: folder, processID: narrowID,
      processStartTicks: UInt64(ticks))
  }

  package init(
    name: String, kind: Kind, device: String, byteCount: UInt64, isReadOnly: Bool, uri: String,
    bootID: String = AttachRecord.currentBootID, folder: String = "", processID: Int32 = 0,
    processStartTicks: UInt64 = 0
  ) {
    self.name = name
    self.kind = kind
    self.device = device
    self.byteCount = byteCount
    self.isReadOnly = isReadOnly
    self.uri = uri
    self.bootID = bootID
    self.folder = folder
    self.processID = processID
    self.processStartTicks = processStartTicks
  }

  /// - Returns: nil when there is none, or none that can be understood.
  package static func load(_ path: String) -> AttachRecord? {
    guard let bytes = try? SmallFile.read(path), let json = try? JSONValue.decode(bytes) else {
      return nil
    }
    return AttachRecord(json)
  }

  /// Writes the record in the place of an older one, whole or not at all.
  package func save(_ path: String) throws(SystemError) {
    try SmallFile.replace(path, with: json.encode() + [UInt8(ascii: "\n")])
  }
}
