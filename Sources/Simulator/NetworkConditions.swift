/// How a simulated network behaves towards the connections on it.
package struct NetworkConditions: Equatable, Sendable {
  /// From a send to its arrival.
  package var shortestNanoseconds: UInt64 = 5_000
  package var longestNanoseconds: UInt64 = 100_000
  /// What one direction of a connection holds, on the way and unread, before the sender waits.
  ///
  /// Taken by connections made from now on.
  package var bufferBytes = 64 * 1024
  /// In a million receives and sends, so many move fewer bytes than they could.
  package var fragmentPerMillion = 500_000
  /// In a million receives and sends, so many find their connection reset.
  package var resetPerMillion = 0
  /// How long a connection tries before it gives up an end that does not answer.
  package var silenceNanoseconds: UInt64 = 900_000_000_000
  /// How long `connect` tries.
  package var connectNanoseconds: UInt64 = 130_000_000_000

  package init() {}
}
