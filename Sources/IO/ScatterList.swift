package import Glibc

/// The pieces of one `sendmsg` or `recvmsg`: a `msghdr` and its `iovec`s at a stable address.
///
/// Made once per connection and direction and filled anew for each call, so a call allocates
/// nothing. It belongs to the caller, who stays suspended while the kernel reads it.
@safe
package final class ScatterList {
  // Safe: both are allocated in `init`, freed in `deinit`, and indexed below `capacity` only.
  private let entries: UnsafeMutablePointer<iovec>
  package let header: UnsafeMutablePointer<msghdr>
  package let capacity: Int
  private var first = 0
  private var end = 0

  /// The bytes that the pieces hold together.
  package private(set) var byteCount = 0

  package init(capacity: Int) {
    precondition(capacity > 0 && capacity <= 1024, "the kernel takes at most IOV_MAX pieces")
    self.capacity = capacity
    unsafe entries = .allocate(capacity: capacity)
    unsafe entries.initialize(repeating: iovec(), count: capacity)
    unsafe header = .allocate(capacity: 1)
    unsafe header.initialize(to: msghdr())
  }

  deinit {
    // Safe: allocated in `init`; no operation refers to a list that nobody holds.
    unsafe entries.deallocate()
    unsafe header.deallocate()
  }

  package var pieceCount: Int { end - first }
  package var vacantPieceCount: Int { capacity - end }
  package var isEmpty: Bool { byteCount == 0 }

  /// Empties the list, so that its pieces can be filled anew.
  package func removeAll() {
    first = 0
    end = 0
    byteCount = 0
  }

  /// Adds a piece behind the others; an empty one is left out.
  ///
  /// - Precondition: fewer than `capacity` pieces were added since `removeAll`.
  package func append(_ piece: IOBuffer) {
    guard piece.byteCount > 0 else { return }
    precondition(end < capacity)
    unsafe entries[end] = unsafe iovec(iov_base: piece.baseAddress, iov_len: piece.byteCount)
    end += 1
    byteCount += piece.byteCount
  }

  /// The piece at `index`, as much of it as is left.
  package func piece(_ index: Int) -> IOBuffer {
    precondition(index >= 0 && index < pieceCount)
    let entry = unsafe entries[first + index]
    // Safe: every entry was made from an IOBuffer.
    guard let base = unsafe entry.iov_base else {
      preconditionFailure("a piece without an address")
    }
    return unsafe IOBuffer(base, byteCount: Int(entry.iov_len))
  }

  /// Drops the first `count` bytes: what a short transfer has already moved.
  ///
  /// - Precondition: the list holds that many.
  package func advance(by count: Int) {
    precondition(count >= 0 && count <= byteCount)
    byteCount -= count
    var left = count
    while left > 0 {
      let length = unsafe Int(entries[first].iov_len)
      if left < length {
        unsafe entries[first].iov_base = unsafe entries[first].iov_base.map { unsafe $0 + left }
        unsafe entries[first].iov_len = length - left
        return
      }
      left -= length
      first += 1
    }
  }

  /// Points the `msghdr` at what is left and returns it.
  package func preparedHeader() -> UnsafeMutablePointer<msghdr> {
    unsafe header.pointee.msg_iov = unsafe entries + first
    unsafe header.pointee.msg_iovlen = pieceCount
    return unsafe header
  }
}
