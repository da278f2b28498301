import Glibc

/// Why a stream ended.
package enum StreamError: Error, Equatable, Sendable {
  /// The peer closed in good order.
  case closedByPeer
  /// Reset, broken or shut down.
  case broken(SystemError)
}

extension ByteStream {
  /// How often the kernel may ask to try again before the stream counts as broken.
  @inlinable
  package static var fruitlessRoundsMax: Int { 100 }

  /// Receives at least one byte.
  ///
  /// - Returns: how many bytes came, filled into the pieces in order.
  @inlinable
  package func receive(into pieces: ScatterList) async throws(StreamError) -> Int {
    var fruitlessRounds = 0
    while true {
      let result = await receiveSome(into: pieces)
      if result > 0 { return Int(result) }
      if result == 0 { throw .closedByPeer }
      try Self.countFruitlessRound(result, &fruitlessRounds)
    }
  }

  /// Sends every byte of the pieces and leaves the list empty.
  @inlinable
  package func send(_ pieces: ScatterList) async throws(StreamError) {
    var fruitlessRounds = 0
    while !pieces.isEmpty {
      let result = await sendSome(from: pieces)
      if result > 0 {
        pieces.advance(by: Int(result))
        fruitlessRounds = 0
      } else {
        try Self.countFruitlessRound(result, &fruitlessRounds)
      }
    }
  }

  @inlinable
  static func countFruitlessRound(
    _ result: Int32, _ fruitlessRounds: inout Int
  ) throws(StreamError) {
    guard result == 0 || result == -EINTR || result == -EAGAIN else {
      throw .broken(SystemError(-result))
    }
    fruitlessRounds += 1
    guard fruitlessRounds < fruitlessRoundsMax else { throw .broken(SystemError(EAGAIN)) }
  }
}
