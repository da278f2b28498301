import DiskFormat
import IO
import RAID

// The watchdog of catching up and of copies (docs/replication.md, section 4).
extension ReplicationNode {
  private static var lookNanoseconds: UInt64 { 5_000_000_000 }

  /// Looks now and then whether replicas that are not in step come nearer; until the end.
  func runWatchdog() async {
    var watches: [Identifier: CatchUpWatch] = [:]
    while !isStopped {
      // In short pieces, so that a stop does not wait.
      for _ in 0..<20 where !isStopped {
        await machine.sleep(nanoseconds: Self.lookNanoseconds / 20)
      }
      guard !isStopped else { return }
      watches = look(watches)
    }
  }

  private func look(_ old: [Identifier: CatchUpWatch]) -> [Identifier: CatchUpWatch] {
    var watches: [Identifier: CatchUpWatch] = [:]
    for peer in wanted where !peer.counts {
      let session = sessions.last { $0.theirs?.nodeID == peer.nodeID && $0.end == nil }
      let copy = session?.copyProgress ?? (done: 0, all: 0)
      let behind = engine.assumeIsolated {
        $0.streamPosition.number
          - min($0.streamPosition.number, $0.replicaProgress(peer.nodeID)?.logged ?? 0)
      }
      let isCopy = copy.all > 0
      var watch = old[peer.nodeID] ?? CatchUpWatch()
      let obstacle = watch.note(
        left: isCopy ? copy.all - copy.done : behind, isCopy: isCopy,
        session?.sight ?? CatchUpWatch.Sight(), now: machine.nowNanoseconds)
      watches[peer.nodeID] = watch
      guard let obstacle else { continue }
      let what = isCopy ? "the copy to replica" : "catching up of replica"
      engine.assumeIsolated {
        $0.tell(
          .warning, "\(what) \(peer.nodeID) has come no nearer for a minute: \(obstacle.rawValue)")
      }
    }
    return watches
  }
}

extension Session {
  /// What goes on just now, for the watchdog.
  var sight: CatchUpWatch.Sight {
    let now = machine.nowNanoseconds
    var sight = CatchUpWatch.Sight()
    sight.isConnected = phase != .connecting
    sight.restedNanoseconds = restedNanoseconds
    if let since = questionsSince.values.min() {
      sight.replicaOwesNanoseconds = now - min(now, since)
    } else if let replica, replica.logged < replica.sent {
      sight.replicaOwesNanoseconds = now - min(now, progressNanoseconds)
    }
    if let since = readsSince.values.min() { sight.readsNanoseconds = now - min(now, since) }
    return sight
  }
}
