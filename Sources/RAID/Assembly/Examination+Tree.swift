import DiskFormat
import Geometry

/// A structured report, for whoever writes JSON.
package indirect enum ExaminationValue: Equatable, Sendable {
  /// A name in an object, with its value.
  package struct Field: Equatable, Sendable {
    package let name: String
    package let value: ExaminationValue
  }

  case text(String)
  case number(UInt64)
  case flag(Bool)
  case list([ExaminationValue])
  case object([Field])

  static func object(_ fields: KeyValuePairs<String, ExaminationValue>) -> ExaminationValue {
    .object(fields.map { Field(name: $0.key, value: $0.value) })
  }

  /// The value of an object's field.
  package subscript(name: String) -> ExaminationValue? {
    guard case .object(let fields) = self else { return nil }
    return fields.first { $0.name == name }?.value
  }
}

extension Examination {
  /// The same as `lines`, as a tree.
  package var tree: ExaminationValue {
    var fields: [ExaminationValue.Field] = [
      .init(name: "members", value: .list(reports.map(Self.value))),
      .init(name: "arrays", value: .list(outcomes.map(Self.value))),
      .init(name: "can_start", value: .flag(canStart)),
      .init(name: "uses_all", value: .flag(usesAll)),
    ]
    if let refusalTogether {
      fields.append(.init(name: "refusal", value: .text(refusalTogether.description)))
    }
    return .object(fields)
  }

  private static func value(_ report: MemberReport) -> ExaminationValue {
    var fields: [ExaminationValue.Field] = [
      .init(name: "name", value: .text(report.name)),
      .init(name: "bytes", value: .number(report.byteCount)),
    ]
    if let newest = report.newest { fields += Self.fields(newest) }
    let copies = zip(["a", "b"], report.copies).map { label, copy in
      ExaminationValue.Field(name: "superblock_\(label)", value: value(copy))
    }
    return .object(fields + copies)
  }

  private static func value(_ copy: SuperblockReading) -> ExaminationValue {
    if let superblock = copy.superblock {
      return .object(["good": .flag(true), "sequence": .number(superblock.superblockSequence)])
    }
    return .object(["good": .flag(false), "trouble": .text(copy.trouble ?? "")])
  }

  private static func fields(_ superblock: Superblock) -> [ExaminationValue.Field] {
    let slots = zip(superblock.memberIDs, superblock.memberStates).map { id, state in
      ExaminationValue.object(["member": .text(id.description), "state": .text(state.word)])
    }
    let values: KeyValuePairs<String, ExaminationValue> = [
      "array": .text(superblock.name),
      "array_id": .text(superblock.arrayID.description),
      "member_id": .text(superblock.memberID.description),
      "slot": .number(UInt64(superblock.slot)),
      "level": .text(superblock.level.name),
      "log_policy": .text(superblock.logPolicy.name),
      "chunk_bytes": .number(superblock.chunkBytes),
      "created_seconds": .number(superblock.createdSeconds),
      "configuration": .text(superblock.configurationID.description),
      "event_count": .number(superblock.eventCount),
      "configuration_history": .list(
        superblock.configurationHistory.map { .text($0.description) }),
      "slots": .list(slots),
      "reserves": .list(superblock.reserves.map { .object(fields($0)) }),
      "log_epoch": .number(superblock.logEpoch),
      "checkpoint": .number(superblock.checkpointSequence),
      "horizon": .number(superblock.horizon),
      "clean": .flag(superblock.isClean),
      "owner_nonce": .text(
        superblock.ownerNonce == .none ? "" : superblock.ownerNonce.description),
      "heartbeat": .number(superblock.heartbeat),
    ]
    return values.map { .init(name: $0.key, value: $0.value) }
  }

  private static func value(_ outcome: Outcome) -> ExaminationValue {
    var fields: [ExaminationValue.Field] = [
      .init(name: "array", value: .text(outcome.arrayName)),
      .init(name: "array_id", value: .text(outcome.arrayID.description)),
      .init(name: "can_start", value: .flag(outcome.canStart)),
      .init(name: "in_use", value: .list(outcome.namesInUse.map { .text($0) })),
      .init(name: "words", value: .text(outcome.headline)),
    ]
    if let refusal = outcome.refusal {
      fields.append(.init(name: "refusal", value: .text(refusal.description)))
    }
    if let plan = outcome.plan {
      fields += [
        .init(name: "bytes", value: .number(plan.geometry.byteCount)),
        .init(name: "clean", value: .flag(plan.isClean)),
        .init(name: "slots", value: .list(slots(outcome, plan))),
        .init(name: "reserves", value: .list(reserves(outcome, plan))),
        .init(name: "warnings", value: .list(plan.warnings.map { .text($0) })),
      ]
    }
    return .object(fields)
  }

  private static func fields(_ reserve: Reserve) -> [ExaminationValue.Field] {
    var fields: [ExaminationValue.Field] = [
      .init(name: "member", value: .text(reserve.memberID.description)),
      .init(name: "seat", value: .number(UInt64(reserve.seat))),
    ]
    if let slot = reserve.targetSlot {
      fields.append(.init(name: "target_slot", value: .number(UInt64(slot))))
    }
    return fields
  }

  private static func reserves(_ outcome: Outcome, _ plan: AssemblyPlan) -> [ExaminationValue] {
    plan.reserves.map { content in
      let state =
        content.report == nil
        ? "missing" : content.reserve.targetSlot == nil ? "spare" : "replacement"
      var all = fields(content.reserve)
      all.append(.init(name: "state", value: .text(state)))
      if let report = content.report {
        all.append(.init(name: "name", value: .text(outcome.reports[report].name)))
      }
      return .object(all)
    }
  }

  private static func slots(_ outcome: Outcome, _ plan: AssemblyPlan) -> [ExaminationValue] {
    plan.slots.indices.map { slot in
      let member = ExaminationValue.text(plan.newest.memberIDs[slot].description)
      switch plan.slots[slot] {
      case .current(let report):
        return .object([
          "member": member, "state": .text("in sync"), "name": .text(outcome.reports[report].name),
        ])
      case .stale(let report, let reason):
        var fields: [ExaminationValue.Field] = [
          .init(name: "member", value: member), .init(name: "state", value: .text("out of date")),
          .init(name: "name", value: .text(outcome.reports[report].name)),
          .init(name: "reason", value: .text(reason.words)),
        ]
        if case .out(let eventsBehind) = reason {
          fields.append(.init(name: "events_behind", value: .number(eventsBehind)))
        }
        return .object(fields)
      case .missing(let wasCurrent):
        return .object([
          "member": member, "state": .text("missing"), "was_in_sync": .flag(wasCurrent),
        ])
      }
    }
  }
}
