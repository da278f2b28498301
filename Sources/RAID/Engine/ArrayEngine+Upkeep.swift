// What an operator may say about rebuild and the time that clients wait. Nothing here waits.
extension ArrayEngine {
  /// Lets the rebuild rest; what is done stays done, also over a restart.
  package func pauseRebuild() {
    keeper.resync.pause()
    keeper.wake()
  }

  /// Goes on with the rebuild.
  package func resumeRebuild() {
    keeper.resync.resume()
    keeper.wake()
  }

  /// Changes what the slowest of a hundred requests of clients may take while upkeep goes on.
  package func setLatencyBudget(nanoseconds: UInt64) {
    keeper.governor.budgetNanoseconds = nanoseconds
    keeper.wake()
  }
}
