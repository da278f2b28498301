/// Rows: single ones, and runs of those that lie together.
///
/// Destages have scattered rows, direct writes have long runs, of which each row by itself would
/// cost a place in a hash table.
struct RowSet {
  private var singles: Set<UInt64> = []
  /// No row is in two of them.
  private var runs: [Range<UInt64>] = []
  private var runRowCount = 0

  init() {}

  init(_ rows: some Sequence<UInt64>) { singles = Set(rows) }

  init(runs: [Range<UInt64>]) { for run in runs { insert(run) } }

  var isEmpty: Bool { singles.isEmpty && runs.isEmpty }
  /// How many rows there are; one that is both single and in a run counts twice.
  var count: Int { singles.count + runRowCount }

  func contains(_ row: UInt64) -> Bool {
    singles.contains(row) || runs.contains { $0.contains(row) }
  }

  /// Whether some row is in the run.
  func overlaps(_ run: Range<UInt64>) -> Bool {
    if runs.contains(where: { $0.overlaps(run) }) { return true }
    guard !singles.isEmpty else { return false }
    return singles.count < run.count
      ? singles.contains { run.contains($0) } : run.contains { singles.contains($0) }
  }

  /// - Precondition: no run has rows of it.
  mutating func insert(_ run: Range<UInt64>) {
    guard !run.isEmpty else { return }
    runRowCount += run.count
    // A stream goes on where it was.
    if let last = runs.last, last.upperBound == run.lowerBound {
      runs[runs.count - 1] = last.lowerBound..<run.upperBound
    } else {
      runs.append(run)
    }
  }

  mutating func formUnion(_ rows: some Sequence<UInt64>) { singles.formUnion(rows) }

  /// Adds all of another set, whose runs have no rows of its own runs.
  mutating func formUnion(_ other: RowSet) {
    singles.formUnion(other.singles)
    for run in other.runs { insert(run) }
  }

  /// Takes away what was in another set when that was a copy of this one.
  ///
  /// A run that has grown since stays as a whole.
  mutating func subtract(_ other: RowSet) {
    singles.subtract(other.singles)
    runs = runs == other.runs ? [] : runs.filter { !other.runs.contains($0) }
    runRowCount = runs.reduce(0) { $0 + $1.count }
  }
}
