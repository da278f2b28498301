// What an operator may say about rebuild and the time that clients wait. Nothing here waits.
extension ArrayEngine {
  /// Lets the rebuild rest; what is done stays done, also over a restart.
  package func pauseRebuild() {
    keeper.resync.pause()
    keeper.wake()
  }

  /// Goes on with the rebuild, and no longer waits for a word before members that come back are brought
  /// up to date.
  package func resumeRebuild() {
    keeper.resync.resume()
    resyncAutomatically()
    keeper.wake()
  }

  /// Goes on with a scrub that was under way when the array was last stopped.
  func continueScrub(_ keep: @escaping @Sendable (ScrubState) -> Void) {
    keeper.scrub.keep = keep
    if let state = options.scrubState { keeper.scrub.restore(state) }
  }

  /// Begins to read everything that was ever written, and to tell or repair what is wrong.
  package func beginScrub(_ kind: ScrubKind) throws(ScrubCommandError) {
    guard isOpen, !isStopped else { throw .stopped(stoppedError) }
    try keeper.scrub.begin(kind)
    keeper.wake()
  }

  /// Lets the scrub rest; it stays where it is, also over a restart.
  package func pauseScrub() throws(ScrubCommandError) { try keeper.scrub.setPaused(true) }

  /// Goes on with the scrub.
  package func resumeScrub() throws(ScrubCommandError) {
    try keeper.scrub.setPaused(false)
    keeper.wake()
  }

  /// Ends the scrub where it is.
  package func cancelScrub() throws(ScrubCommandError) { try keeper.scrub.cancel() }

  /// Changes what the slowest of a hundred requests of clients may take while upkeep goes on.
  package func setLatencyBudget(nanoseconds: UInt64) {
    keeper.governor.budgetNanoseconds = nanoseconds
    keeper.wake()
  }
}
