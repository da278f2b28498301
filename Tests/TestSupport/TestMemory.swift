package import IO
import Units

extension AlignedMemory {
  /// Memory that holds a copy of `bytes`, which start `offset` bytes behind a page.
  package static func holding(_ bytes: [UInt8], offset: Int = 0) -> AlignedMemory {
    let memory = AlignedMemory.ofTest(offset + bytes.count)
    memory.buffer.dropFirst(offset).copy(from: bytes)
    return memory
  }

  /// Memory for a test, which cannot go on without.
  package static func ofTest(_ byteCount: Int) -> AlignedMemory {
    guard let memory = AlignedMemory(byteCount: byteCount) else {
      preconditionFailure("no memory for a test")
    }
    return memory
  }
}

extension IOBuffer {
  /// A copy of the bytes.
  package var array: [UInt8] {
    // Safe: the closure fills all `byteCount` bytes that it says it does.
    unsafe [UInt8](unsafeUninitializedCapacity: byteCount) { target, count in
      if let base = target.baseAddress {
        unsafe IOBuffer(base, byteCount: byteCount).copy(from: self)
      }
      count = byteCount
    }
  }

  /// Copies all of `source` to the start of this view.
  package func copy(from source: [UInt8]) {
    // Safe: the pointer is used inside the closure and only read.
    unsafe source.withUnsafeBytes { raw in
      guard let base = raw.baseAddress else { return }
      copy(from: unsafe IOBuffer(UnsafeMutableRawPointer(mutating: base), byteCount: raw.count))
    }
  }
}
