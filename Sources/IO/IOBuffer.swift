import Glibc

/// A view of memory that a disk or a socket reads or fills.
///
/// It owns nothing. Whoever hands it to an operation keeps the memory alive, and stays suspended,
/// until the operation has returned: the kernel may write into it until then. Slices are checked
/// against the view's bounds in release builds too, because lengths come from the wire.
@safe
package struct IOBuffer: @unchecked Sendable {
  // Safe: never dereferenced beyond `byteCount`; the owner outlives the operation (see above).
  package let baseAddress: UnsafeMutableRawPointer
  package let byteCount: Int

  @inlinable
  package init(_ baseAddress: UnsafeMutableRawPointer, byteCount: Int) {
    precondition(byteCount >= 0)
    unsafe self.baseAddress = unsafe baseAddress
    self.byteCount = byteCount
  }

  /// The bytes from `offset` on, `count` of them.
  ///
  /// - Precondition: they lie inside the view.
  @inlinable
  package func slice(_ offset: Int, _ count: Int) -> IOBuffer {
    precondition(offset >= 0 && count >= 0)
    precondition(offset <= byteCount && count <= byteCount - offset)
    return unsafe IOBuffer(baseAddress + offset, byteCount: count)
  }

  /// The bytes of a range of it.
  package func slice(_ range: Range<Int>) -> IOBuffer {
    slice(range.lowerBound, range.count)
  }

  /// What is behind the first `count` bytes.
  ///
  /// - Precondition: the view has that many.
  @inlinable
  package func dropFirst(_ count: Int) -> IOBuffer { slice(count, byteCount - count) }

  /// The first `count` bytes.
  ///
  /// - Precondition: the view has that many.
  @inlinable
  package func prefix(_ count: Int) -> IOBuffer { slice(0, count) }

  /// Copies all of `source` to the start of this view.
  ///
  /// - Precondition: `source` is not longer than this view.
  @inlinable
  package func copy(from source: IOBuffer) {
    precondition(source.byteCount <= byteCount)
    // Safe: both lengths were compared; memmove allows overlap.
    unsafe _ = memmove(baseAddress, source.baseAddress, source.byteCount)
  }

  /// Sets every byte to `byte`.
  @inlinable
  package func fill(with byte: UInt8) {
    // Safe: inside the view.
    unsafe _ = memset(baseAddress, Int32(byte), byteCount)
  }

  /// Whether every byte is zero.
  ///
  /// Stops at the first that is not.
  @inlinable
  package var isZero: Bool {
    guard byteCount > 0 else { return true }
    // Safe: inside the view. A run of equal bytes equals itself shifted by one.
    return unsafe baseAddress.load(as: UInt8.self) == 0
      && memcmp(baseAddress, baseAddress + 1, byteCount - 1) == 0
  }

  /// Whether both have the same bytes.
  package func isEqual(to other: IOBuffer) -> Bool {
    guard byteCount == other.byteCount else { return false }
    // Safe: inside both views.
    return unsafe memcmp(baseAddress, other.baseAddress, byteCount) == 0
  }

  /// The memory as a span, for codecs.
  @inlinable
  package var bytes: RawSpan {
    @_lifetime(borrow self)
    get {
      // Safe: the owner keeps the memory alive while the view is in use.
      let span = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(baseAddress), byteCount: byteCount)
      return unsafe _overrideLifetime(span, borrowing: self)
    }
  }

  /// The memory as a span to write, for codecs.
  @inlinable
  package var mutableBytes: MutableRawSpan {
    @_lifetime(borrow self)
    get {
      // Safe: the owner keeps the memory alive, and nobody else touches it while it is written.
      let span = unsafe MutableRawSpan(_unsafeStart: baseAddress, byteCount: byteCount)
      return unsafe _overrideLifetime(span, borrowing: self)
    }
  }
}

/// Memory of its own, aligned for direct I/O and freed with its last reference.
package final class AlignedMemory: @unchecked Sendable {
  /// All of it.
  package let buffer: IOBuffer

  /// Maps fresh zeroed pages.
  ///
  /// Pages cost memory only when they are touched. Fails when the address space or the commit
  /// limit is exhausted.
  ///
  /// - Parameters:
  ///   - byteCount: rounded up to whole pages.
  ///   - prefersHugePages: for what is used throughout and handed to disks by the megabyte: the
  ///     kernel then walks far fewer pages. Rounded up to 2 MiB where it is longer than that.
  package init?(byteCount: Int, prefersHugePages: Bool = false) {
    let hugeBytes = 2 << 20
    let isHuge = prefersHugePages && byteCount >= hugeBytes
    let unit = isHuge ? hugeBytes : 4096
    let rounded = (max(byteCount, 1) + unit - 1) & ~(unit - 1)
    // Safe: a fresh private mapping; checked against MAP_FAILED before use.
    let address = unsafe mmap(
      nil, isHuge ? rounded + hugeBytes : rounded, PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let address = unsafe address, unsafe address != MAP_FAILED else { return nil }
    guard isHuge else {
      self.buffer = unsafe IOBuffer(address, byteCount: rounded)
      return
    }
    // Only whole aligned ones can be huge: what is mapped beside them goes back.
    let before = -Int(bitPattern: address) & (hugeBytes - 1)
    let start = unsafe address + before
    // Safe: both pieces are whole pages of the mapping that was just made, and nobody has seen them.
    if before > 0 { unsafe _ = munmap(address, before) }
    unsafe _ = munmap(start + rounded, hugeBytes - before)
    // Safe: our own mapping. It is a wish, and a kernel without it says so; nothing depends on it.
    unsafe _ = madvise(start, rounded, MADV_HUGEPAGE)
    self.buffer = unsafe IOBuffer(start, byteCount: rounded)
  }

  deinit {
    // Safe: the mapping made in `init`; nobody holds a view of it any more.
    unsafe _ = munmap(buffer.baseAddress, buffer.byteCount)
  }

  /// Gives the pages of a range back to the kernel; they read as zeros afterwards.
  ///
  /// - Precondition: `offset` and `count` are multiples of 4096 inside the memory.
  package func discard(_ offset: Int, _ count: Int) {
    let range = buffer.slice(offset, count)
    // Safe: page-aligned and inside our own mapping.
    let result = unsafe madvise(range.baseAddress, range.byteCount, MADV_DONTNEED)
    precondition(result == 0, "madvise(MADV_DONTNEED) failed on our own mapping")
  }
}

extension IOBuffer {
  /// Whether the address is a multiple of `alignment`, a power of two.
  @inlinable
  package func isAligned(to alignment: Int) -> Bool {
    unsafe Int(bitPattern: baseAddress) & (alignment - 1) == 0
  }
}

extension IOBuffer {
  /// One byte.
  ///
  /// - Precondition: `index` lies inside the view.
  package subscript(index: Int) -> UInt8 {
    precondition(index >= 0 && index < byteCount)
    // Safe: inside the view; every pattern of bits is a byte.
    return unsafe baseAddress.load(fromByteOffset: index, as: UInt8.self)
  }

  /// Copies all of `source` to the start of this view.
  ///
  /// - Precondition: `source` is not longer than this view.
  package func copy(from source: [UInt8]) {
    precondition(source.count <= byteCount)
    // Safe: both lengths were compared; an array and the view never overlap.
    unsafe source.withUnsafeBytes { bytes in
      if let start = bytes.baseAddress { unsafe _ = memcpy(baseAddress, start, bytes.count) }
    }
  }
}
