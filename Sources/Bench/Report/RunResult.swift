package import IO

/// What a whole run has come to.
package struct RunResult: Sendable {
  /// By job, or by group of clones with `group_reporting`, in the order of the job file.
  package var jobs: [JobResult] = []
  package var samples: [IntervalSample] = []
  package var elapsedNanoseconds: UInt64 = 0
  package var processor = ProcessorTime()
  /// What the machine's loop did: what one operation cost in calls into the kernel.
  package var loop = LoopCounters()
  /// When it was interrupted, counted from its start.
  package var interruptedAfterNanoseconds: UInt64?
  /// Operations that had not been answered when the run was given up.
  package var abandonedOperationCount = 0
  /// What the reader must know of how this was measured.
  package var notes: [String] = []
  /// When it started, in milliseconds since 1970; for JSON.
  package var startedMilliseconds: UInt64 = 0

  /// Nothing has run yet.
  package init() {}

  package var isGood: Bool { jobs.allSatisfy(\.isGood) && abandonedOperationCount == 0 }

  /// All operations that were answered, those of the ramp, syncs and verifying reads included: what
  /// the processor time was spent on.
  package var performedOperationCount: UInt64 = 0

  /// All operations counted, syncs and verifying reads left out.
  package var operationCount: UInt64 {
    jobs.reduce(0) { sum, job in
      sum + OperationKind.allCases.reduce(0) { $0 + job[$1].operationCount }
    }
  }

  /// `interrupted after 12.3 s`; nil for a run that was not.
  package var interruptionNote: String? {
    interruptedAfterNanoseconds.map {
      "interrupted after \(Figure.fixed(Double($0) / 1e9, 1)) s: this is what was measured until then"
    }
  }
}
