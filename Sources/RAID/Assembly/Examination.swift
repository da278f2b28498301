package import DiskFormat
import Geometry
import Units

/// What members say of themselves, and what would be assembled of them: `ashlar examine`.
///
/// Reads only. What it says of the assembly is what `AssemblyPlan.decide` says, so it cannot differ
/// from what a start would do.
package struct Examination: Equatable, Sendable {
  /// What would become of the members of one array.
  package struct Outcome: Equatable, Sendable {
    package let arrayID: Identifier
    package let arrayName: String
    /// The reports that it is about; a plan counts in this list.
    package let reports: [MemberReport]
    package let plan: AssemblyPlan?
    package let refusal: AssemblyRefusal?
    /// Members that somebody uses now.
    package let namesInUse: [String]
  }

  package let reports: [MemberReport]
  /// One for each array that some member names.
  package let outcomes: [Outcome]
  /// Why all of them together do not make one array, if there are several or none.
  package let refusalTogether: AssemblyRefusal?

  /// Judges members.
  ///
  /// - Parameters:
  ///   - reports: one for each.
  ///   - namesInUse: the names of those that somebody has open for use.
  ///   - options: what a start of the array with this superblock would know.
  package init(
    _ reports: [MemberReport], namesInUse: Set<String> = [],
    options: (Superblock) -> AssemblyOptions = { _ in AssemblyOptions() }
  ) {
    self.reports = reports
    var arrays: [Superblock] = []
    for newest in reports.compactMap(\.newest)
    where !arrays.contains(where: { $0.arrayID == newest.arrayID }) {
      arrays.append(newest)
    }
    outcomes = arrays.map { array in
      let own = reports.filter { report in
        // With one array alone, a member that says nothing may be its own.
        guard let newest = report.newest else { return arrays.count == 1 }
        return newest.arrayID == array.arrayID
      }
      return Self.outcome(array, own, namesInUse, options(array))
    }
    refusalTogether =
      switch AssemblyPlan.decide(
        reports: reports, options: arrays.first.map(options) ?? AssemblyOptions())
      {
      case .success: nil
      case .failure(let refusal): outcomes.count == 1 ? nil : refusal
      }
  }

  private static func outcome(
    _ array: Superblock, _ reports: [MemberReport], _ namesInUse: Set<String>,
    _ options: AssemblyOptions
  ) -> Outcome {
    let inUse = reports.filter { $0.newest != nil && namesInUse.contains($0.name) }.map(\.name)
    let decided = AssemblyPlan.decide(reports: reports, options: options)
    return switch decided {
    case .success(let plan):
      Outcome(
        arrayID: array.arrayID, arrayName: array.name, reports: reports, plan: plan, refusal: nil,
        namesInUse: inUse)
    case .failure(let refusal):
      Outcome(
        arrayID: array.arrayID, arrayName: array.name, reports: reports, plan: nil,
        refusal: refusal, namesInUse: inUse)
    }
  }

  /// Whether what was given makes one array that would be started now, perhaps without some of it.
  package var canStart: Bool {
    outcomes.count == 1 && outcomes.allSatisfy(\.canStart)
  }

  /// Whether that array would use everything that was given.
  package var usesAll: Bool {
    canStart && outcomes.allSatisfy { $0.plan?.unlisted.isEmpty ?? false }
      && reports.allSatisfy { $0.newest != nil && !$0.isCutShort }
  }
}

extension Examination.Outcome {
  /// Whether it would be started now.
  package var canStart: Bool { plan != nil && namesInUse.isEmpty }

  /// For an operator, in one line.
  package var headline: String {
    guard let plan else { return "array '\(arrayName)' \(arrayID): not to be assembled" }
    let geometry = plan.geometry
    let present = plan.currentSlots.count
    let health =
      present == geometry.memberCount
      ? "all \(present) members in sync"
      : "degraded, \(present) of \(geometry.memberCount) members in sync"
    let state = plan.isClean ? "clean" : "to be recovered from its log"
    let start = canStart ? "can start" : "is in use now"
    return "array '\(arrayName)' \(arrayID): \(start), \(health), \(state); "
      + "\(geometry.level.name), \(ByteSize.format(geometry.byteCount))"
  }

  /// One line for each slot; none when there is no plan.
  package var slotLines: [String] {
    guard let plan else { return [] }
    let reserves = plan.reserves.map { content in
      "\(content.reserve.words): "
        + (content.report.map { reports[$0].name } ?? "missing")
    }
    return slotLines(plan) + reserves
  }

  private func slotLines(_ plan: AssemblyPlan) -> [String] {
    plan.slots.indices.map { slot in
      let memberID = plan.newest.memberIDs[slot]
      return switch plan.slots[slot] {
      case .current(let report): "slot \(slot): \(reports[report].name), in sync"
      case .stale(let report, .failed):
        "slot \(slot): \(reports[report].name), \(ExpulsionReason.commanded.words)"
      case .stale(let report, let reason):
        "slot \(slot): \(reports[report].name), out of date: \(reason.words)"
      case .missing:
        "slot \(slot): member \(memberID) is missing"
          + plan.newest.memberStates[slot].absenceWords
      }
    }
  }
}
