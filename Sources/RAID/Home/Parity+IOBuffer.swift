package import IO
package import Parity

extension IOBuffer {
  /// The memory, to compute parity on.
  ///
  /// - Precondition: address and length are multiples of 32, the length is above 0.
  package var parity: ParityBuffer {
    // Safe: the view's own memory, which its owner keeps alive while it is in use.
    unsafe ParityBuffer(baseAddress, byteCount: byteCount)
  }
}
