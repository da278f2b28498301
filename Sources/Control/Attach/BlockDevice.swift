import Glibc

/// What /sys and /proc say of a block device such as `/dev/loop3`.
package struct BlockDevice: Equatable, Sendable {
  /// For example `loop3`.
  package let kernelName: String

  package var path: String { "/dev/\(kernelName)" }

  /// - Returns: nil unless the path is that of a whole loop or nbd device.
  package init?(path: String) {
    guard path.hasPrefix("/dev/") else { return nil }
    let name = path.dropFirst(5)
    let digits = name.hasPrefix("loop") ? name.dropFirst(4) : name.dropFirst(3)
    guard name.hasPrefix("loop") || name.hasPrefix("nbd"), !digits.isEmpty,
      digits.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 })
    else { return nil }
    kernelName = String(name)
  }

  /// The loop devices that lie on a file.
  package static func loops(on file: String) -> [BlockDevice] {
    SmallFile.names(in: "/sys/block").compactMap { BlockDevice(path: "/dev/\($0)") }
      .filter { $0.backingFile == file }
  }

  package var systemFolder: String { "/sys/block/\(kernelName)" }

  package var exists: Bool { SmallFile.exists(systemFolder) }

  /// The size now; /sys counts in 512 bytes whatever the sector size is.
  package var byteCount: UInt64 {
    let sectors = SmallFile.number("\(systemFolder)/size") ?? 0
    return sectors > UInt64.max / 512 ? .max : sectors * 512
  }

  /// The file behind a loop device; nil when it is free.
  package var backingFile: String? { SmallFile.text("\(systemFolder)/loop/backing_file") }

  /// Whether the kernel's NBD client has a connection there.
  package var isConnected: Bool { SmallFile.exists("\(systemFolder)/pid") }

  /// Limits how much one request carries, so that the server's promise of atomic requests holds
  /// for each of them.
  ///
  /// A device that was used before may still have the limit of then: it is raised as well.
  ///
  /// - Returns: false when the kernel has no such limit or refused it.
  package func limitRequests(byteCount: UInt64) -> Bool {
    let path = "\(systemFolder)/queue/max_sectors_kb"
    let wanted = max(1, byteCount / 1024)
    guard let current = SmallFile.number(path) else { return false }
    let possible = SmallFile.number("\(systemFolder)/queue/max_hw_sectors_kb") ?? current
    let limit = min(wanted, possible)
    if current == limit { return true }
    do {
      try SmallFile.overwrite(path, with: "\(limit)\n")
    } catch {
      return current <= wanted
    }
    return SmallFile.number(path).map { $0 <= wanted } ?? false
  }

  /// `MAJOR:MINOR` of the device and each of its partitions, with their paths.
  private var parts: [(number: String, path: String)] {
    var parts: [(String, String)] = []
    if let number = SmallFile.text("\(systemFolder)/dev") { parts.append((number, path)) }
    for name in SmallFile.names(in: systemFolder) where name.hasPrefix(kernelName) {
      if let number = SmallFile.text("\(systemFolder)/\(name)/dev") {
        parts.append((number, "/dev/\(name)"))
      }
    }
    return parts
  }

  /// The folders on which the device or a partition of it is mounted.
  package func mountedFolders(_ mounts: MountTable) -> [String] {
    parts.flatMap { mounts.folders(ofDevice: $0.number) }
  }

  /// Everything that uses the device, in words, for example `mounted on /srv`.
  package func uses() -> [String] {
    var uses = mountedFolders(.everywhere()).map { "mounted on \($0)" }
    let swaps = swapDevices(swaps: (try? SmallFile.read("/proc/swaps")) ?? [])
    for part in parts {
      if swaps.contains(part.path) { uses.append("\(part.path) is swap space") }
      let holders = SmallFile.names(in: "/sys/dev/block/\(part.number)/holders")
      for holder in holders { uses.append("\(part.path) is part of /dev/\(holder)") }
    }
    return uses + openers()
  }

  /// The processes that have the device or a partition of it open, as far as they can be seen.
  private func openers() -> [String] {
    let paths = Set(parts.map(\.path))
    // The kernel's client may keep a process of its own at the device.
    let client = SmallFile.number("\(systemFolder)/pid").map { Int32(clamping: $0) }
    var openers: [String] = []
    for process in SmallFile.names(in: "/proc") {
      guard let processID = Int32(process), processID != getpid(), processID != client
      else { continue }
      let folder = "/proc/\(process)/fd"
      let isUser = SmallFile.names(in: folder).contains { name in
        SmallFile.linkTarget("\(folder)/\(name)").map { paths.contains($0) } ?? false
      }
      guard isUser else { continue }
      let program = SmallFile.text("/proc/\(process)/comm") ?? "?"
      openers.append("open in process \(process) (\(program))")
    }
    return openers
  }
}
