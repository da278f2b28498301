import Control
import Glibc
import IO

/// `ashlar rebuild NAME`.
enum RebuildCommand {
  static let command = Command(
    name: "rebuild",
    summary: "show, pause or wait for the rebuild of an array's members",
    discussion: [
      "Members that come back, new ones and replacements are brought up to date by themselves, "
        + "together, as fast as the latency budget of the clients allows. Without options it is "
        + "shown how far that is.",
      "--wait returns when nothing is left to do, with 0 when every member is up to date and nothing "
        + "is lost, 1 when a member is still missing or blocks are lost, 2 when it has not come to "
        + "its end: it is paused, or the server has ended; 3 when the array is not served.",
    ],
    operands: [Operand("NAME", help: "the array")],
    options: [
      .flag(
        "pause", help: "let it rest, over restarts too; what changes meanwhile is remembered"),
      .flag("resume", help: "let it go on, also what 'serve --no-resync' holds back"),
      .flag("wait", help: "wait for its end, and show how far it is"),
      latencyBudgetOption,
      .flag("json", help: "print a JSON object"),
    ],
    run: run)

  @Sendable private static func run(_ options: ParsedOptions) throws(UsageError) -> Int32 {
    let name = try Conversion<String>.deviceName.convert(options.operands[0], for: "NAME")
    var orders = try latencyBudgetOrders(options)
    let (pauses, resumes) = (options.flag("pause"), options.flag("resume"))
    if pauses, resumes { throw UsageError("--pause and --resume exclude each other") }
    if pauses, options.flag("wait") {
      throw UsageError("what is paused has no end: leave out --wait")
    }
    if pauses { orders.append(.pauseRebuild) }
    if resumes { orders.append(.resumeRebuild) }
    let waits = options.flag("wait")
    let shows = orders.isEmpty && !waits
    return runUpkeep("rebuild", name, waits: waits) { session throws(ControlError) in
      var outcomes: [OrderOutcome] = []
      for order in orders { outcomes.append(try session.order(order)) }
      guard waits || shows else {
        return session.report(outcomes, wantsJSON: options.flag("json"))
      }
      let wait = UpkeepWait(session)
      let (standing, array): (UpkeepStanding, ArrayReport)
      if waits {
        (standing, array) = try wait.run { UpkeepStanding.rebuild($0) }
      } else {
        let now = try session.array()
        (standing, array) = (UpkeepStanding.rebuild(now), now)
      }
      let wasTold = wait.tell(standing, array, after: outcomes, wantsJSON: options.flag("json"))
      guard wasTold else { return ExitCode.failure }
      return waits ? standing.exitCode : ExitCode.success
    }
  }
}

/// What rebuild and scrub may cost the clients.
let latencyBudgetOption = Option(
  "latency-budget", "DURATION",
  help: "from now on, let clients wait so long at most (p99) because of rebuild and scrub")

/// The order that `--latency-budget` stands for.
func latencyBudgetOrders(_ options: ParsedOptions) throws(UsageError) -> [ArrayOrder] {
  let budget = try options.value(
    "latency-budget", as: .duration(in: ArrayOrder.latencyBudgetNanoseconds))
  return budget.map { [.setLatencyBudget(nanoseconds: $0)] } ?? []
}

/// Runs one of the two commands, and says why not when it cannot be done.
///
/// With `--wait` the exit codes are those of the wait: 3 for an array that is not served, 2 for
/// anything else that keeps it from its end.
func runUpkeep(
  _ command: String, _ name: String, waits: Bool,
  _ body: (OrderSession) throws(ControlError) -> Int32
) -> Int32 {
  let session: OrderSession
  do throws(RuntimeDirectoryError) {
    session = try OrderSession(command: command, name: name)
  } catch {
    Complaint.print(command: command, error.description)
    return waits ? ExitCode.unfinished : ExitCode.failure
  }
  do throws(ControlError) {
    return try body(session)
  } catch {
    guard waits else { return session.failed(error) }
    if case .notRunning = error { return session.failed(error, code: ExitCode.notRunning) }
    return session.failed(error, code: ExitCode.unfinished)
  }
}
