import Units

/// What a job does next: the kind drawn by the mix, the place by the generator.
struct OperationPlan: Sendable {
  private var mix: OperationMix
  private var offsets: OffsetGenerator

  /// - Precondition: the options are resolved against the target.
  init(options: JobOptions, seed: UInt64) {
    mix = OperationMix(options.workload, readPercent: options.readPercent, seed: seed)
    offsets = OffsetGenerator(options, seed: seed)
  }

  /// - Returns: nil when the pass over the region is over.
  mutating func next() -> PlannedOperation? {
    let kind = mix.next()
    return offsets.next(for: kind).map { PlannedOperation(kind: kind, range: $0) }
  }

  mutating func startOver() { offsets.startPass() }
}

/// One operation before it is performed.
struct PlannedOperation: Equatable, Sendable {
  var kind: OperationKind
  var range: ByteRange
}
