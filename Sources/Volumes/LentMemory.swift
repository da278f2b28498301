package import IO

/// Memory of a volume's own with what a read found, lent to whoever sends it.
///
/// It belongs to the borrower until `giveBack`, which is called once, where the volume's requests
/// run.
package protocol LentMemory: AnyObject, Sendable {
  /// What was read.
  var bytes: IOBuffer { get }

  /// Returns it to the volume.
  func giveBack()
}
