import Glibc
import IO

/// Writes records from a thread of its own, the newest one of each array.
///
/// Who changes the members waits until the record `isIdle`: a record that is behind would prove, after
/// a crash, that members did not go on which did (rule T6).
package final class RegistryWriter: Sendable {
  private let registry: Registry
  private let complain: @Sendable (RegistryError) -> Void
  private let writer: LatestWriter<RegistryRecord>

  /// Starts the thread.
  ///
  /// - Parameters:
  ///   - registry: where the records go.
  ///   - complain: told on that thread of what could not be written.
  package init(
    to registry: Registry, complain: @escaping @Sendable (RegistryError) -> Void
  ) {
    self.registry = registry
    self.complain = complain
    writer = LatestWriter { record in
      do throws(RegistryError) {
        try registry.save(record)
      } catch {
        complain(error)
        // The one from before would prove what is not so: rather none (rule T6).
        registry.remove(record.name)
      }
    }
  }

  /// Has the record written, unless a newer one comes first; never waits.
  package func write(_ record: RegistryRecord) {
    if writer.write(record) { return }
    registry.remove(record.name)
    complain(.cannotWrite(path: registry.path(of: record.name), .outOfMemory))
  }

  /// Whether everything is written, or has failed to be.
  package var isIdle: Bool { writer.isIdle }

  /// Waits until everything is written, but not longer than this.
  package func drain(millisecondsMax: Int32) { writer.drain(millisecondsMax: millisecondsMax) }
}
