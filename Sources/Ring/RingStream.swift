import CUring
import Glibc
package import IO

/// A connected socket on the ring.
package struct RingStream: ByteStream {
  package let peerDescription: String
  private let file: FileReference
  private let machine: RingMachine

  init(file: FileReference, peerDescription: String, machine: RingMachine) {
    self.file = file
    self.peerDescription = peerDescription
    self.machine = machine
  }

  package func receiveSome(into pieces: ScatterList) async -> Int32 {
    await machine.submit { $0.receive(file, pieces) }
  }

  package func sendSome(from pieces: ScatterList) async -> Int32 {
    await machine.submit { $0.send(file, pieces) }
  }

  package var untakenByteCount: Int {
    Int(ashlar_untaken_bytes(file.descriptor))
  }

  package func shutdown() {
    _ = Glibc.shutdown(file.descriptor, Int32(SHUT_RDWR))
  }

  package func close() async {
    machine.fileTable?.unregister(file)
    _ = Glibc.close(file.descriptor)
  }
}

extension RingMachine {
  /// Reads from a pipe or another descriptor without a position.
  ///
  /// - Returns: the count of bytes, 0 at the end, or a negated errno.
  package func readPipe(_ descriptor: Int32, into buffer: IOBuffer) async -> Int32 {
    let file = FileReference(descriptor: descriptor)
    return await submit { $0.read(file, buffer, at: .max) }
  }

  /// Writes to a pipe or another descriptor without a position.
  ///
  /// - Returns: the count of bytes or a negated errno.
  package func writePipe(_ descriptor: Int32, from buffer: IOBuffer) async -> Int32 {
    let file = FileReference(descriptor: descriptor)
    return await submit { $0.write(file, buffer, at: .max) }
  }
}
