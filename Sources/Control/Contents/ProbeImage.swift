import CBlkid
import Glibc
import IO

/// A sparse copy in memory of the parts of a disk that tell what is on it, for libblkid.
///
/// The library wants a descriptor, and an export has none; a block device that we hold has one,
/// but what was written through us need not be in its page cache.
struct ProbeImage: ~Copyable {
  private let descriptor: Int32

  private init(descriptor: Int32) {
    self.descriptor = descriptor
  }

  deinit { close(descriptor) }

  /// An image of that size, all zeros.
  static func empty(byteCount: UInt64) throws(DiskError) -> ProbeImage {
    let descriptor = ashlar_memory_file()
    guard descriptor >= 0 else { throw .refused(.last) }
    guard let length = Int(exactly: byteCount), ftruncate(descriptor, length) == 0 else {
      let error = SystemError.last
      close(descriptor)
      throw .refused(error)
    }
    return ProbeImage(descriptor: descriptor)
  }

  /// Copies a part of the disk to its place.
  func write(_ buffer: IOBuffer, at offsetBytes: UInt64) throws(DiskError) {
    guard let offset = Int(exactly: offsetBytes) else { throw .refused(.invalidArgument) }
    // Safe: as many bytes as the buffer has.
    let count = unsafe pwrite(descriptor, buffer.baseAddress, buffer.byteCount, offset)
    guard count == buffer.byteCount else { throw .refused(count < 0 ? .last : .outOfMemory) }
  }

  /// Everything that the library knows, in words.
  func signatures() throws(DiskError) -> [String] {
    // Safe: freed below; the descriptor outlives it.
    guard let probe = unsafe blkid_new_probe() else { throw .refused(.outOfMemory) }
    defer { unsafe blkid_free_probe(probe) }
    guard unsafe blkid_probe_set_device(probe, descriptor, 0, 0) == 0,
      unsafe ashlar_probe_all(probe) == 0
    else { throw .refused(.outOfMemory) }
    var found: [String] = []
    // 0 is a find, 1 the end. The bound is for a library that does not come to one.
    for _ in 0..<64 {
      let result = unsafe blkid_do_probe(probe)
      if result == 1 { return found }
      guard result == 0 else { throw .refused(SystemError(EIO)) }
      let words = unsafe Self.words(
        type: Self.value("TYPE", of: probe), usage: Self.value("USAGE", of: probe),
        table: Self.value("PTTYPE", of: probe), label: Self.value("LABEL", of: probe))
      if !found.contains(words) { found.append(words) }
    }
    return found
  }

  @unsafe
  private static func value(_ name: String, of probe: blkid_probe) -> String? {
    var text: UnsafePointer<CChar>?
    var byteCount = 0
    // Safe: the text belongs to the probe and is copied at once.
    guard unsafe blkid_probe_lookup_value(probe, name, &text, &byteCount) == 0 else { return nil }
    return unsafe text.map { unsafe String(cString: $0) }
  }

  /// A find in words that complete "it holds ...".
  static func words(type: String?, usage: String?, table: String?, label: String?) -> String {
    guard let type else {
      return table.map { "a partition table (\($0))" } ?? "something that libblkid knows"
    }
    let known: [String: String] = [
      "linux_raid_member": "a member of a Linux RAID array",
      "LVM2_member": "an LVM physical volume",
      "LVM1_member": "an LVM physical volume", "zfs_member": "a member of a ZFS pool",
      "crypto_LUKS": "a LUKS volume", "swap": "swap space", "swsuspend": "a suspended system",
      "bcache": "a bcache device", "drbd": "a DRBD device",
    ]
    let what =
      if let words = known[type] {
        words
      } else {
        switch usage {
        case "filesystem": "a file system (\(type))"
        case "raid": "a member of an array (\(type))"
        case "crypto": "an encrypted volume (\(type))"
        default: "a signature of \(type)"
        }
      }
    // A label may hold anything, also what a terminal would obey.
    let shown = String(
      (label ?? "").unicodeScalars.filter { $0.isASCII && $0.value >= 32 && $0.value < 127 }
        .map { Character($0) })
    return shown.isEmpty ? what : "\(what) labelled '\(shown)'"
  }
}
