/// Why something that the array was asked for was not done.
package enum ArrayError: Error, Equatable, Sendable {
  /// Blocks that are beyond redundancy, as far as is known the first of them.
  case unreadable(block: UInt64)
  /// The array has stopped accepting writes; the text says why.
  case stopped(String)
  /// A limit of the machine: memory.
  case outOfMemory

  /// For an operator.
  package var words: String {
    switch self {
    case .unreadable(let block): "block \(block) is beyond redundancy"
    case .stopped(let reason): reason
    case .outOfMemory: "out of memory"
    }
  }
}
