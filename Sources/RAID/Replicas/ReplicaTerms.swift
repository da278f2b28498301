import DiskFormat

extension ReplicationState {
  /// Refuses weaker terms than those by which a replica may be promoted.
  ///
  /// One that goes by `stop` and mode C is promoted without force: weaker terms would let its primary
  /// acknowledge what it lacks before it hears of them (rule C4).
  func checkTerms(
    of peer: Peer, _ mode: ReplicaMode, _ lossPolicy: LossPolicy
  ) throws(ArrayError) {
    guard self.lossPolicy == .stop, peer.counts, peer.mode == .c else { return }
    guard lossPolicy == .stop, mode == .c else {
      throw .refused(
        "the replica goes by mode C and '--on-peer-loss stop', and would be promoted by them: remove it, "
          + "and add it with the weaker terms")
    }
  }
}
