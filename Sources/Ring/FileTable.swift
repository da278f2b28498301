import CUring

/// The ring's registered files: operations on them skip the descriptor look-up and its reference.
///
/// A descriptor that finds no room is used as it is; it works the same and costs a little more.
@safe
final class FileTable {
  private static let slotCount = 1024

  // Safe: the machine owns the ring and outlives its table.
  private let ring: UnsafeMutablePointer<io_uring>
  private var vacantSlots: [Int32] = []

  init(ring: UnsafeMutablePointer<io_uring>) {
    unsafe self.ring = unsafe ring
    if unsafe io_uring_register_files_sparse(ring, UInt32(Self.slotCount)) == 0 {
      vacantSlots = (0..<Int32(Self.slotCount)).reversed()
    }
  }

  func register(_ descriptor: Int32) -> FileReference {
    guard let slot = vacantSlots.last else { return FileReference(descriptor: descriptor) }
    var value = descriptor
    // Safe: one descriptor is read during the call.
    guard unsafe io_uring_register_files_update(ring, UInt32(slot), &value, 1) == 1 else {
      return FileReference(descriptor: descriptor)
    }
    vacantSlots.removeLast()
    return FileReference(descriptor: descriptor, slot: slot)
  }

  /// Takes the file out of the table.
  ///
  /// The caller closes the descriptor.
  func unregister(_ file: FileReference) {
    guard let slot = file.slot else { return }
    var value: Int32 = -1
    // Safe: as above.
    guard unsafe io_uring_register_files_update(ring, UInt32(slot), &value, 1) == 1 else { return }
    vacantSlots.append(slot)
  }
}

/// A descriptor, and its place in the ring's table where it has one.
struct FileReference: Equatable, Sendable {
  let descriptor: Int32
  var slot: Int32?

  /// What an entry's `fd` field takes.
  var target: Int32 { slot ?? descriptor }

  /// What is to be added to an entry's flags.
  var flags: UInt8 { slot == nil ? 0 : UInt8(1 << 0) /* IOSQE_FIXED_FILE */ }
}
