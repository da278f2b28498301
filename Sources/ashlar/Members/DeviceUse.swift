import Control
import Glibc

/// Who uses a file or block device that is not to be had.
enum DeviceUse {
  /// Everything that can be found out, in words that complete "it is in use: ..."; nil for nothing.
  static func words(path: String) -> String? {
    var status = stat()
    // Safe: the path and `status` live until the call returns.
    guard unsafe stat(path, &status) == 0 else { return nil }
    let uses =
      status.st_mode & S_IFMT == S_IFBLK
      ? usesOfDevice(path, number: number(status.st_rdev))
      : holders(device: status.st_dev, file: UInt64(status.st_ino))
    return uses.isEmpty ? nil : uses.joined(separator: "; ")
  }

  /// `MAJOR:MINOR`.
  private static func number(_ device: dev_t) -> String { "\(major(device)):\(minor(device))" }

  // glibc has macros for these two: twelve bits and eight, and the rest above.
  private static func major(_ device: dev_t) -> UInt64 {
    let bits = UInt64(device)
    return bits >> 8 & 0xfff | bits >> 32 & 0xffff_f000
  }

  private static func minor(_ device: dev_t) -> UInt64 {
    let bits = UInt64(device)
    return bits & 0xff | bits >> 12 & 0xffff_ff00
  }

  private static func usesOfDevice(_ path: String, number: String) -> [String] {
    var uses = MountTable.everywhere().folders(ofDevice: number).map {
      "it is mounted on \($0): unmount it first, if it is really meant"
    }
    let folder = "/sys/dev/block/\(number)"
    for holder in SmallFile.names(in: "\(folder)/holders") {
      uses.append("it is part of /dev/\(holder): take it out there first, if it is really meant")
    }
    let name = SmallFile.linkTarget(folder)?.split(separator: "/").last.map(String.init)
    let swaps = swapDevices(swaps: (try? SmallFile.read("/proc/swaps")) ?? [])
    if swaps.contains(path) || name.map({ swaps.contains("/dev/\($0)") }) == true {
      uses.append("it is swap space: 'swapoff' it first, if it is really meant")
    }
    return uses
  }

  /// Whether a file is locked by processes that have ended, and nobody else.
  ///
  /// A process that was killed keeps what it had open until its last writes are done: that ends by
  /// itself.
  static func isHeldByEndedProcesses(path: String) -> Bool {
    var status = stat()
    // Safe: the path and `status` live until the call returns.
    guard unsafe stat(path, &status) == 0 else { return false }
    let holders = lockHolders(device: status.st_dev, file: UInt64(status.st_ino))
    return !holders.isEmpty && holders.allSatisfy { SmallFile.text("/proc/\($0)/comm") == nil }
  }

  private static func holders(device: dev_t, file: UInt64) -> [String] {
    lockHolders(device: device, file: file).map { process in
      guard let program = SmallFile.text("/proc/\(process)/comm") else {
        return "process \(process), which has ended, still has writes under way: try again when "
          + "they are done"
      }
      return "process \(process) (\(program)) holds it: see 'ashlar status', or wait until it has "
        + "ended"
    }
  }

  /// The processes that took a lock on a file: one line each in /proc/locks,
  /// `1: FLOCK  ADVISORY  WRITE 4711 fd:01:131073 0 EOF`, numbers of the device in hexadecimal.
  private static func lockHolders(device: dev_t, file: UInt64) -> [Int32] {
    let text = SmallFile.text("/proc/locks") ?? ""
    return text.split(separator: "\n").compactMap { line in
      let fields = line.split(separator: " ")
      guard fields.count >= 6, fields[1] == "FLOCK", let process = Int32(fields[4]) else {
        return nil
      }
      let place = fields[5].split(separator: ":")
      guard place.count == 3, UInt64(place[0], radix: 16) == major(device),
        UInt64(place[1], radix: 16) == minor(device), UInt64(place[2]) == file
      else { return nil }
      return process
    }
  }
}
