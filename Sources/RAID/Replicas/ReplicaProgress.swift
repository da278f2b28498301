package import DiskFormat
import IO

// Safe: everything that has one runs on the executor of its array.
/// How far one replica is, by client record numbers (docs/replication.md, section 2).
///
/// Belongs to the log; the session that serves the replica moves it.
package final class ReplicaProgress: @unchecked Sendable {
  package let nodeID: Identifier
  package internal(set) var mode: ReplicaMode
  /// Acknowledgements wait for it.
  package internal(set) var counts: Bool
  /// It is being set aside: it still counts until that is durable.
  var isBeingSetAside = false
  /// Whether a session serves it: records are kept in memory for it.
  package internal(set) var isConnected = false
  /// Everything up to these is there: whole and verified; in its log; durable.
  package internal(set) var received: UInt64 = 0
  package internal(set) var logged: UInt64 = 0
  package internal(set) var durable: UInt64 = 0
  /// The last record that the session has sent.
  package var sent: UInt64 = 0
  /// The batch that is pinned in the log because the replica may lack what it holds.
  var pinnedSequence: UInt64?
  /// Somebody waits until everything up to here is durable, and since when.
  package internal(set) var flushWanted: UInt64 = 0
  package internal(set) var flushWantedNanoseconds: UInt64 = 0
  /// Where its session waits for work.
  private var rest = WaitPoint()
  private var isSignalled = false

  init(nodeID: Identifier, mode: ReplicaMode, counts: Bool) {
    self.nodeID = nodeID
    self.mode = mode
    self.counts = counts
  }

  /// What its mode asks for before a write is acknowledged.
  func acknowledged(in mode: ReplicaMode) -> UInt64 {
    switch mode {
    case .a: .max
    case .b: received
    case .c: logged
    }
  }

  /// There is something to do for its session.
  package func signal() {
    isSignalled = true
    rest.signal()
  }

  /// Waits for a signal; one that came meanwhile counts.
  package func waitForSignal() async {
    if !isSignalled {
      // Safe: resumed once, by `signal`, or here.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        if isSignalled {
          unsafe waiter.resume()
        } else {
          unsafe rest.put(waiter)
        }
      }
    }
    isSignalled = false
  }
}
