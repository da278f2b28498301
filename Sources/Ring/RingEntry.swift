import CUring
import Glibc
import IO

/// A vacant submission entry, to be filled with one operation.
///
/// Memory that an operation names is kept by the caller, who stays suspended until the operation
/// has completed: that is what makes these methods safe.
@safe
struct RingEntry {
  // Safe: valid until the entry is submitted, which is after `prepare` has returned.
  private let pointer: UnsafeMutablePointer<io_uring_sqe>

  init(_ pointer: UnsafeMutablePointer<io_uring_sqe>) {
    unsafe self.pointer = unsafe pointer
  }

  func read(_ file: FileReference, _ buffer: IOBuffer, at offsetBytes: UInt64) {
    let count = UInt32(min(buffer.byteCount, Self.transferByteCountMax))
    unsafe io_uring_prep_read(pointer, file.target, buffer.baseAddress, count, offsetBytes)
    unsafe pointer.pointee.flags |= file.flags
  }

  func write(_ file: FileReference, _ buffer: IOBuffer, at offsetBytes: UInt64) {
    let count = UInt32(min(buffer.byteCount, Self.transferByteCountMax))
    unsafe io_uring_prep_write(pointer, file.target, buffer.baseAddress, count, offsetBytes)
    unsafe pointer.pointee.flags |= file.flags
  }

  func synchronizeData(_ file: FileReference) {
    unsafe io_uring_prep_fsync(pointer, file.target, UInt32(IORING_FSYNC_DATASYNC))
    unsafe pointer.pointee.flags |= file.flags
  }

  func synchronizeAll(_ file: FileReference) {
    unsafe io_uring_prep_fsync(pointer, file.target, 0)
    unsafe pointer.pointee.flags |= file.flags
  }

  func allocate(_ file: FileReference, mode: Int32, at offsetBytes: Int64, byteCount: Int64) {
    unsafe io_uring_prep_fallocate(pointer, file.target, mode, Int(offsetBytes), Int(byteCount))
    unsafe pointer.pointee.flags |= file.flags
  }

  func readAhead(_ file: FileReference, at offsetBytes: UInt64, byteCount: Int64) {
    unsafe io_uring_prep_fadvise(
      pointer, file.target, offsetBytes, Int(byteCount), POSIX_FADV_WILLNEED)
    unsafe pointer.pointee.flags |= file.flags
  }

  /// One piece needs no msghdr, which saves the kernel copying and checking it.
  func receive(_ file: FileReference, _ pieces: ScatterList) {
    if pieces.pieceCount == 1 {
      let piece = pieces.piece(0)
      unsafe io_uring_prep_recv(pointer, file.target, piece.baseAddress, piece.byteCount, 0)
    } else {
      unsafe io_uring_prep_recvmsg(pointer, file.target, pieces.preparedHeader(), 0)
    }
    unsafe pointer.pointee.flags |= file.flags
  }

  func send(_ file: FileReference, _ pieces: ScatterList) {
    // MSG_WAITALL: the kernel itself goes on after a short send.
    let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_WAITALL)
    if pieces.pieceCount == 1 {
      let piece = pieces.piece(0)
      unsafe io_uring_prep_send(pointer, file.target, piece.baseAddress, piece.byteCount, flags)
    } else {
      unsafe io_uring_prep_sendmsg(pointer, file.target, pieces.preparedHeader(), UInt32(flags))
    }
    unsafe pointer.pointee.flags |= file.flags
  }

  func accept(_ descriptor: Int32) {
    unsafe io_uring_prep_accept(
      pointer, descriptor, nil, nil, Int32(SOCK_CLOEXEC.rawValue))
  }

  /// The address is kept by the caller until the operation has completed.
  @unsafe
  func connect(_ descriptor: Int32, _ address: UnsafePointer<sockaddr>, _ length: socklen_t) {
    unsafe io_uring_prep_connect(pointer, descriptor, address, length)
  }

  /// Path and result are kept by the caller until the operation has completed.
  @unsafe
  func prepareLook(_ path: UnsafePointer<CChar>, _ result: UnsafeMutablePointer<statx>) {
    unsafe io_uring_prep_statx(
      pointer, AT_FDCWD, path, 0, STATX_BASIC_STATS, result)
  }

  func cancel(identifier: UInt64) {
    unsafe io_uring_prep_cancel64(pointer, identifier, 0)
  }

  var identifier: UInt64 {
    get { unsafe pointer.pointee.user_data }
    nonmutating set { unsafe pointer.pointee.user_data = newValue }
  }

  /// How many bytes one operation moves at most; the loops above continue.
  private static let transferByteCountMax = 1 << 30
}
