import Control
import Glibc
import IO

/// `ashlar scrub NAME`.
enum ScrubCommand {
  static let command = Command(
    name: "scrub",
    summary: "read everything on an array, check it, and repair what is wrong",
    discussion: [
      "Reads everything that was ever written, on all members: data, parity, mirrors and checksums. "
        + "What does not verify is rewritten from what does (--repair, which is the default), or only "
        + "reported (--check). It runs in the server, beside the clients and within their latency "
        + "budget; a restart of the server goes on with it. 'ashlar status NAME' shows how far it is.",
      "With --wait it returns at the end, with 0 when nothing was found, 1 when something was, "
        + "repaired or not, 2 when it has not come to its end: paused, cancelled, refused, or the "
        + "server has ended; 3 when the array is not served. --wait alone waits for a scrub that is "
        + "under way, and begins one when there is none. To interrupt a wait does not end the scrub.",
      "--latency-budget alone sets the budget, and begins nothing.",
    ],
    operands: [Operand("NAME", help: "the array")],
    options: [
      .flag("check", help: "report what is wrong, and change nothing"),
      .flag("repair", help: "repair what is wrong, as far as redundancy allows (the default)"),
      .flag("pause", help: "let it rest, and keep its position"),
      .flag("resume", help: "let it go on"),
      .flag("cancel", help: "end it"),
      .flag("wait", help: "wait for its end, and show how far it is"),
      latencyBudgetOption,
      .flag("json", help: "print a JSON object"),
    ],
    run: run)

  @Sendable private static func run(_ options: ParsedOptions) throws(UsageError) -> Int32 {
    let name = try Conversion<String>.deviceName.convert(options.operands[0], for: "NAME")
    let budget = try latencyBudgetOrders(options)
    let waits = options.flag("wait")
    let order = try order(options, isBudgetOnly: !budget.isEmpty && !waits)
    // Without a word about the kind, any scrub that is under way is the one that is meant.
    let joins = waits && ["check", "repair", "resume"].allSatisfy { !options.flag($0) }
    return runUpkeep("scrub", name, waits: waits) { session throws(ControlError) in
      let before = try session.array()
      let since = UInt64(max(0, time(nil)))
      var outcomes: [OrderOutcome] = []
      for order in budget { outcomes.append(try session.order(order)) }
      if let order, !(joins && before.upkeep.scrub != nil) {
        outcomes.append(try session.order(order))
      }
      guard waits else { return session.report(outcomes, wantsJSON: options.flag("json")) }
      let wait = UpkeepWait(session)
      let (standing, array) = try wait.run {
        UpkeepStanding.scrub(
          $0, previous: before.upkeep.scrubHistory.last, sinceUnixSeconds: since)
      }
      let wasTold = wait.tell(standing, array, after: outcomes, wantsJSON: options.flag("json"))
      return wasTold ? standing.exitCode : ExitCode.unfinished
    }
  }

  private static func order(
    _ options: ParsedOptions, isBudgetOnly: Bool
  ) throws(UsageError) -> ArrayOrder? {
    let choices: [(String, ArrayOrder)] = [
      ("check", .beginScrub(repairs: false)), ("repair", .beginScrub(repairs: true)),
      ("pause", .pauseScrub), ("resume", .resumeScrub), ("cancel", .cancelScrub),
    ]
    let given = choices.filter { options.flag($0.0) }
    guard given.count < 2 else {
      throw UsageError("--\(given[0].0) and --\(given[1].0) exclude each other")
    }
    guard let choice = given.first else {
      return isBudgetOnly ? nil : .beginScrub(repairs: true)
    }
    if options.flag("wait"), choice.0 == "pause" || choice.0 == "cancel" {
      throw UsageError("--\(choice.0) leaves nothing to wait for: leave out --wait")
    }
    return choice.1
  }
}
