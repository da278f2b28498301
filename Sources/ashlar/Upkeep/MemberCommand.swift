import Control
import Glibc
import IO

/// `ashlar member add|remove|fail|replace NAME MEMBER [WITH]`.
enum MemberCommand {
  static let command = Command(
    name: "member",
    summary: "add, remove, fail or replace a member of an array that is served",
    usage: [
      "add NAME MEMBER [--force]", "replace NAME MEMBER WITH [--force]", "fail NAME MEMBER",
      "remove NAME MEMBER",
    ],
    discussion: [
      "add: a new member takes a slot whose member failed or was removed, and the rebuild begins at "
        + "once; when there is none it becomes a spare, which takes the slot of the next member that "
        + "fails. A place whose member was failed by an operator is taken again, and all of it rebuilt; "
        + "--force means nothing there.",
      "replace: WITH takes the place of MEMBER. One that is out is rebuilt onto WITH; one that serves "
        + "goes on serving until WITH is its copy, so that the redundancy is never less.",
      "fail: puts a member out, if the array can do without it. It stays out, over restarts too, until "
        + "add names it again, which has all of it written anew, or it is removed or replaced. Once a "
        + "spare has taken its slot it is no member any more: 'add --force' makes it a spare.",
      "remove: takes a spare, a replacement under way, or a member that is out off the list; the array "
        + "does not take it back. A member that serves is failed or replaced first.",
      "An existing MEMBER is named by its slot or seat as in 'ashlar status', its path or URI, or its "
        + "identity; './2' is a file called 2. A new one is a path or NBD URI. A file that does not "
        + "exist is created, at the size that the array needs. What holds anything is refused as in "
        + "'ashlar create', and what it holds is named; --force destroys that, and says so.",
      "Each is durable on all members when the command returns. 'ashlar rebuild NAME --wait' waits for "
        + "the rebuild that add and replace begin.",
    ],
    operands: [
      Operand("ACTION", help: "add, remove, fail or replace"),
      Operand("NAME", help: "the array"),
      Operand(
        "MEMBER", help: "the member concerned; with add, the new one, or the place of a failed one"),
      Operand("WITH", isRequired: false, help: "with replace: the new member"),
    ],
    options: [
      .flag("force", help: "destroy what the new member holds"),
      .flag("json", help: "print a JSON object"),
    ],
    run: run)

  @Sendable private static func run(_ options: ParsedOptions) throws(UsageError) -> Int32 {
    let request = try Request(options)
    let session: OrderSession
    do throws(RuntimeDirectoryError) {
      session = try OrderSession(command: "member", name: request.name)
    } catch {
      Complaint.print(command: "member", error.description)
      return ExitCode.failure
    }
    do throws(ControlError) {
      let outcome = try perform(request, session)
      return session.report([outcome], wantsJSON: options.flag("json"))
    } catch {
      return session.failed(error)
    }
  }

  private static func perform(
    _ request: Request, _ session: OrderSession
  ) throws(ControlError) -> OrderOutcome {
    var member = request.member
    if request.action != .add {
      do throws(ControlRefusal) {
        member = try existing(request.member, in: try array(session)).memberID
      } catch {
        throw .refused(error)
      }
    }
    // Without force first, also when it is given: what is destroyed is said before it is.
    do throws(ControlError) {
      return try session.order(request.order(member, isForced: false))
    } catch {
      guard request.isForced, case .refused(let refusal) = error,
        refusal.code == OrderRefusalCode.holdsSomething
      else { throw error }
      session.tell("destroying what is there: \(refusal.message)")
      var outcome = try session.order(request.order(member, isForced: true))
      if outcome.destroyed.isEmpty { outcome.destroyed = [refusal.message] }
      return outcome
    }
  }

  private static func array(_ session: OrderSession) throws(ControlRefusal) -> ArrayReport {
    do throws(ControlError) {
      return try session.array()
    } catch {
      guard case .refused(let refusal) = error else {
        throw ControlRefusal(
          code: "unreachable", message: error.explained(session.name),
          action: "nothing was done")
      }
      throw refusal
    }
  }

  /// Who is meant; a file also by another name of it.
  private static func existing(
    _ text: String, in array: ArrayReport
  ) throws(ControlRefusal) -> MemberChoice {
    let place = try? MemberPlace(text)
    if let identity = place?.identity, UInt64(text) == nil {
      let same = MemberChoice.all(array).first { choice in
        (try? MemberPlace(choice.place))?.identity == identity
      }
      if let same { return same }
    }
    do throws(ControlRefusal) {
      return try MemberChoice.find(text, in: array)
    } catch {
      guard let place, place.text != text else { throw error }
      return try MemberChoice.find(place.text, in: array)
    }
  }

  /// What the command line asks for.
  private struct Request {
    enum Action: String, CaseIterable {
      case add, remove, fail, replace
    }

    let action: Action
    let name: String
    /// As it was given; for `add`, the absolute path or the URI.
    let member: String
    let with: String?
    let isForced: Bool

    init(_ options: ParsedOptions) throws(UsageError) {
      let word = options.operands[0]
      guard let action = Action(rawValue: word) else {
        let known = Action.allCases.map(\.rawValue)
        let nearest = nearestName(to: word, among: known).map { "; did you mean '\($0)'?" } ?? ""
        throw UsageError(
          "ACTION: '\(word)' is not one of \(known.joined(separator: ", "))\(nearest)")
      }
      self.action = action
      name = try Conversion<String>.deviceName.convert(options.operands[1], for: "NAME")
      let given = options.operands[2]
      guard !given.isEmpty else { throw UsageError("MEMBER is empty") }
      member = action == .add ? try MemberPlace(given).text : given
      switch (action, options.operand(3)) {
      case (.replace, let with?): self.with = try MemberPlace(with).text
      case (.replace, nil): throw UsageError("WITH is missing: replace NAME MEMBER WITH")
      case (_, let surplus?): throw UsageError("surplus argument '\(surplus)'")
      case (_, nil): with = nil
      }
      isForced = options.flag("force")
      if isForced, action != .add, action != .replace {
        throw UsageError("--force is about what a new member holds: \(word) takes none")
      }
    }

    func order(_ member: String, isForced: Bool) -> ArrayOrder {
      switch action {
      case .add: .addMember(place: member, isForced: isForced)
      case .remove: .removeMember(member)
      case .fail: .failMember(member)
      case .replace: .replaceMember(member, place: with ?? "", isForced: isForced)
      }
    }
  }
}
