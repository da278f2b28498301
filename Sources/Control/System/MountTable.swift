/// What the kernel says is mounted, and who else uses a block device.
package struct MountTable: Equatable, Sendable {
  /// One line of `/proc/PID/mountinfo`, as far as it matters here.
  package struct Mount: Equatable, Sendable {
    /// `MAJOR:MINOR` of the device that the file system lies on.
    package var device: String
    package var folder: String
    package var fileSystem: String
    package var source: String
  }

  package var mounts: [Mount]

  /// The mounts that this process sees.
  package static func current() -> MountTable {
    MountTable(mountinfo: (try? SmallFile.read("/proc/self/mountinfo")) ?? [])
  }

  /// The mounts of all mount namespaces that can be seen, such as those of services.
  package static func everywhere() -> MountTable {
    var table = current()
    var seen: Set<String> = []
    if let own = SmallFile.linkTarget("/proc/self/ns/mnt") { seen.insert(own) }
    for process in SmallFile.names(in: "/proc") where Int32(process) != nil {
      guard let space = SmallFile.linkTarget("/proc/\(process)/ns/mnt"),
        seen.insert(space).inserted, let bytes = try? SmallFile.read("/proc/\(process)/mountinfo")
      else { continue }
      table.mounts += MountTable(mountinfo: bytes).mounts
    }
    return table
  }

  /// Reads /proc/self/mountinfo; lines that it does not understand are passed over.
  ///
  /// A line: `36 35 98:0 /root /folder rw,noatime shared:1 - ext4 /dev/sda1 rw`, where any number
  /// of optional fields stands before the dash, and blanks in names are written `\040`.
  package init(mountinfo bytes: [UInt8]) {
    mounts = []
    for line in bytes.split(separator: UInt8(ascii: "\n")) {
      let fields = line.split(separator: UInt8(ascii: " "))
      guard fields.count >= 9,
        let dash = fields.dropFirst(6).firstIndex(where: { $0.elementsEqual([UInt8(ascii: "-")]) }),
        dash + 2 < fields.count
      else { continue }
      mounts.append(
        Mount(
          device: unescaped(fields[2]), folder: unescaped(fields[4]),
          fileSystem: unescaped(fields[dash + 1]), source: unescaped(fields[dash + 2])))
    }
  }

  /// The folders on which a device is mounted.
  package func folders(ofDevice device: String) -> [String] {
    mounts.filter { $0.device == device }.map(\.folder)
  }

  /// The uppermost mount on a folder.
  package func mount(on folder: String) -> Mount? { mounts.last { $0.folder == folder } }
}

/// The block devices used as swap, from /proc/swaps: a heading, then a path first on each line.
package func swapDevices(swaps bytes: [UInt8]) -> [String] {
  bytes.split(separator: UInt8(ascii: "\n")).dropFirst().compactMap { line in
    line.split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }.first.map(unescaped)
  }
}

/// Undoes the kernel's `\ooo` for blanks, tabs, newlines and backslashes.
private func unescaped(_ field: ArraySlice<UInt8>) -> String {
  var bytes: [UInt8] = []
  var rest = field
  while let byte = rest.popFirst() {
    let digits = rest.prefix(3)
    let isOctal = digits.count == 3 && digits.allSatisfy { $0 >= 0x30 && $0 <= 0x37 }
    guard byte == UInt8(ascii: "\\"), isOctal else {
      bytes.append(byte)
      continue
    }
    bytes.append(digits.reduce(UInt8(0)) { $0 &* 8 &+ ($1 - 0x30) })
    rest = rest.dropFirst(3)
  }
  return String(decoding: bytes, as: UTF8.self)
}
