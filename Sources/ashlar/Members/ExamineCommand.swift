import Control
import DiskFormat
import IO
import RAID
import Ring

/// `ashlar examine MEMBER...`.
enum ExamineCommand {
  static let command = Command(
    name: "examine",
    summary: "say what members are, and what would be assembled of them",
    usage: ["MEMBER... [--json]"],
    discussion: [
      "Reads what each MEMBER (a file, a block device, an NBD URI) says of itself: its array, its "
        + "slot, its configuration, who uses it. Then tells which array would be started of all "
        + "that were given, in which state, and if none, why not and what to do. Writes nothing; "
        + "members that are in use can be examined, too.",
      "Ends with 0 when all that was given would be started now as one array, else with 1: also "
        + "when that array is being served, and when it would start without some of what was given.",
    ],
    operands: [Operand("MEMBER", isRepeatable: true, help: "a path or an NBD URI")],
    options: [.flag("json", help: "print a JSON object")],
    run: { options throws(UsageError) in
      var places: [MemberPlace] = []
      for text in options.operands { places.append(try MemberPlace(text)) }
      let machine: RingMachine
      do throws(RingError) {
        machine = try RingMachine()
      } catch {
        Complaint.print(command: "examine", error.explanation)
        return ExitCode.failure
      }
      let session = ExamineSession(
        machine: machine, places: places, wantsJSON: options.flag("json"))
      return machine.run { await session.run() }
    })
}

/// One `ashlar examine`.
actor ExamineSession {
  nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe machine.unownedExecutor }

  private nonisolated let machine: RingMachine
  private let places: [MemberPlace]
  private let wantsJSON: Bool

  init(machine: RingMachine, places: [MemberPlace], wantsJSON: Bool) {
    self.machine = machine
    self.places = places
    self.wantsJSON = wantsJSON
  }

  /// What cannot be told from superblocks.
  private struct Remarks {
    /// Places that could not be opened, and why.
    var failures: [(name: String, reason: String)] = []
    var notes: [String] = []
    /// What members without a superblock hold.
    var contents: [(name: String, holds: [String])] = []
  }

  /// - Returns: the process's exit code.
  func run() async -> Int32 {
    var remarks = Remarks()
    var members = OpenMembers()
    var opener = MemberOpener(machine: machine)
    opener.requestNanoseconds = 10_000_000_000
    for place in places {
      do throws(MemberError) {
        try members.checkIsNew(place)
        let member = try await opener.open(place, for: .examine)
        members.append(member)
        if let note = member.note { remarks.notes.append(note) }
      } catch {
        remarks.failures.append((place.text, error.message))
      }
    }
    let reports = await MemberReport.readAll(members.handles)
    var inUse = Set(members.members.filter(\.isInUse).map(\.handle.name))
    do throws(MemberError) {
      _ = try await members.checkOwners(reports, machine) {
        Terminal.error.write("ashlar examine: \($0)\n")
      }
    } catch {
      inUse.formUnion(members.members.filter(\.place.isShared).map(\.handle.name))
      remarks.notes.append(error.message)
    }
    for (member, report) in zip(members.members, reports) where report.newest == nil {
      await addContents(of: member, to: &remarks)
    }
    await members.close()
    var trouble: [String] = []
    let examination = Examination(reports, namesInUse: inUse) { newest in
      options(for: newest, members, reports, &trouble)
    }
    remarks.notes += trouble
    let text = wantsJSON ? json(examination, remarks).text : text(examination, remarks)
    guard Terminal.output.write(text + "\n") else { return ExitCode.failure }
    return examination.usesAll && remarks.failures.isEmpty
      ? ExitCode.success : ExitCode.failure
  }

  private func addContents(of member: OpenMember, to remarks: inout Remarks) async {
    let handle = member.handle
    do throws(DiskError) {
      let found = try await ForeignContents.find(on: handle.disk, byteCount: handle.byteCount)
      remarks.contents.append((handle.name, found))
    } catch {
      remarks.notes.append("cannot look what \(handle.name) holds: \(error.explanation)")
    }
  }

  /// What the registry proves, as for a start.
  private func options(
    for newest: Superblock, _ members: OpenMembers, _ reports: [MemberReport],
    _ trouble: inout [String]
  ) -> AssemblyOptions {
    guard let registry = Registry.ofUser else { return AssemblyOptions() }
    do throws(RegistryError) {
      let record = try registry.load(newest.name)
      guard let record, record.arrayID == newest.arrayID.description else {
        return AssemblyOptions()
      }
      return AssemblyOptions(
        knownConfiguration: record.proof(members),
        absences: members.absences(reports, record, reasons: [:]))
    } catch {
      if !trouble.contains(error.explanation) { trouble.append(error.explanation) }
      return AssemblyOptions()
    }
  }

  // MARK: Telling

  private func text(_ examination: Examination, _ remarks: Remarks) -> String {
    var lines = examination.lines
    for content in remarks.contents {
      let words = content.holds.isEmpty ? "nothing: zeros" : content.holds.joined(separator: ", ")
      lines.append("\(content.name) holds \(words)")
    }
    for failure in remarks.failures { lines.append("not examined: \(failure.reason)") }
    lines += remarks.notes.map { "note: \($0)" }
    return lines.joined(separator: "\n")
  }

  private func json(_ examination: Examination, _ remarks: Remarks) -> JSONValue {
    guard case .object(let members) = JSONValue(examination.tree) else { return .null }
    let head: [JSONMember] = [JSONMember(name: "version", value: .integer(1))]
    let tail: [JSONMember] = [
      JSONMember(
        name: "contents",
        value: .array(
          remarks.contents.map {
            ["name": .string($0.name), "holds": .array($0.holds.map { .string($0) })]
          })),
      JSONMember(
        name: "not_examined",
        value: .array(
          remarks.failures.map { ["name": .string($0.name), "error": .string($0.reason)] })),
      JSONMember(name: "notes", value: .array(remarks.notes.map { .string($0) })),
    ]
    return .object(head + members + tail)
  }
}

extension JSONValue {
  /// The tree of an examination.
  init(_ value: ExaminationValue) {
    switch value {
    case .text(let text): self = .string(text)
    case .number(let number): self = .count(number)
    case .flag(let flag): self = .bool(flag)
    case .list(let values): self = .array(values.map { JSONValue($0) })
    case .object(let fields):
      self = .object(fields.map { JSONMember(name: $0.name, value: JSONValue($0.value)) })
    }
  }
}
