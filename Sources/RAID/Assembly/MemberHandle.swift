package import IO

/// A member that has been opened: what to call it, its bytes, and how many there are.
package struct MemberHandle<D: Disk>: Sendable {
  /// Path or URI, for messages.
  package let name: String
  package let disk: D
  package let byteCount: UInt64

  package init(name: String, disk: D, byteCount: UInt64) {
    self.name = name
    self.disk = disk
    self.byteCount = byteCount
  }
}
