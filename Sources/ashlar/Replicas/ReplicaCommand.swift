import Control
import DiskFormat
import Glibc
import IO
import Units

/// `ashlar replica ACTION NAME`.
enum ReplicaCommand {
  private static let actions = [
    "add", "remove", "verify", "diff", "export-diverged", "resync", "seed", "step-back",
  ]

  static let command = Command(
    name: "replica",
    summary: "mirror an array to another node, or no longer",
    usage: [
      "add NAME ADDRESS [options]", "remove NAME REPLICA",
      "verify NAME [REPLICA] [--no-wait | --cancel]", "diff NAME",
      "export-diverged NAME FILE", "resync NAME --exported FILE | --discard BYTES",
      "seed NAME --discard NAME", "step-back NAME [--give-up | --follow]",
    ],
    discussion: [
      "add: the array that is served at ADDRESS ('ashlar serve --replication ADDRESS' there) becomes a "
        + "replica of NAME. It has to be empty and of the same size. Everything is copied to it while "
        + "clients go on; from the moment when it is in step, each write is acknowledged only when the "
        + "replica has it as well. Adding one again changes its mode, policy and timeout.",
      "--mode says when a write is acknowledged: A, when it is in the log here; B, when the replica has "
        + "received it; C, when it is in the replica's log. With B and C a flush waits until both sides "
        + "have made it durable.",
      "--on-peer-loss says what follows when a replica does not answer for --peer-timeout: 'continue' "
        + "records that it is set aside, and goes on without; 'stop' refuses writes until it is back, so "
        + "that nothing is ever acknowledged that the replica lacks.",
      "remove: nobody waits for the replica any more, and nothing is kept for it. REPLICA is its "
        + "address or identity, as in 'ashlar status'.",
      "verify: compares all that was ever written with what a replica has that is in step, by a hash of "
        + "each block, while clients go on and within their latency budget. A block that one node cannot "
        + "read, its own redundancy included, is mended from the other; one that both can read and that is "
        + "not the same is reported, and nobody is overwritten. It returns at the end: with 0 when all is "
        + "the same, 1 when something was not, mended or not, 2 when it did not come to its end, 3 when "
        + "the array is not served. To interrupt the wait does not end it; --cancel does.",
      "diff, export-diverged, resync: when two nodes have written different things, because the link between them was "
        + "cut or somebody was promoted by force, neither takes anything from the other. 'diff' lists "
        + "what only this node has, and changes nothing. 'export-diverged' saves it in FILE, which the "
        + "server makes and which must not exist. 'resync' gives it up and makes this node a replica "
        + "again: exactly the blocks that differ are copied from the other. It wants to see that FILE "
        + "(--exported), which has to hold what is given up, all of it and intact; or --discard repeats "
        + "the number of bytes that 'diff' tells ('all' where the log does not list them any more).",
      "seed: the array NAME, which is nobody's replica, was filled with a copy of a primary's device, by whatever means "
        + "(a disk that was shipped, for one). It is served no more, and may be named to 'replica add' at the "
        + "primary though it is not empty: both sides compare, and only what differs is sent. What it holds is given "
        + "up with that: --discard repeats its name.",
      "step-back: a replica that was away for longer than the primary's log reaches back is copied to, and amid "
        + "that is no state that the primary ever had: it serves nothing, and is not promoted. Served with "
        + "'--undo FILE' it keeps what the copy overwrites; when the primary is lost before the copy is "
        + "complete, step-back returns it to its last consistent state, which can be promoted by force. It follows "
        + "nobody then; --follow lets it begin anew. --give-up goes on with a copy whose FILE is full.",
    ],
    operands: [
      Operand("ACTION", help: actions.joined(separator: ", ")), Operand("NAME", help: "the array"),
      Operand(
        "WHICH", isRequired: false,
        help: "the replica: where it listens; with remove, its identity too; or the FILE"),
    ],
    options: [
      Option("mode", "MODE", default: "C", help: "A, B or C"),
      Option(
        "on-peer-loss", "POLICY", default: "continue",
        help: "continue without a lost replica, or stop"),
      Option(
        "peer-timeout", "DURATION", default: "2s", help: "for the replica to answer"),
      Option("discard", "BYTES", help: "with resync: what is given up; with seed: NAME again"),
      Option("exported", "FILE", help: "with resync: where what is given up was saved"),
      .flag("give-up", help: "with step-back: go on, without a way back"),
      .flag("follow", help: "with step-back: follow the primary again"),
      .flag("no-wait", help: "with verify: begin it, and return"),
      .flag("cancel", help: "with verify: end one that is under way"),
      .flag("json", help: "print a JSON object"),
    ],
    run: run)

  @Sendable private static func run(_ options: ParsedOptions) throws(UsageError) -> Int32 {
    let action = options.operands[0]
    let name = try Conversion<String>.deviceName.convert(options.operands[1], for: "NAME")
    let order: ReplicaOrder
    if action != "add" {
      for name in ["mode", "on-peer-loss", "peer-timeout"] where options.isGiven(name) {
        throw UsageError("--\(name) goes with 'add' only")
      }
    }
    if options.isGiven("exported"), action != "resync" {
      throw UsageError("--exported goes with 'resync' only")
    }
    if options.isGiven("discard"), action != "resync", action != "seed" {
      throw UsageError("--discard goes with 'resync' and 'seed' only")
    }
    for name in ["give-up", "follow"] where options.flag(name) && action != "step-back" {
      throw UsageError("--\(name) goes with 'step-back' only")
    }
    for name in ["no-wait", "cancel"] where options.flag(name) && action != "verify" {
      throw UsageError("--\(name) goes with 'verify' only")
    }
    switch (action, options.operands.count) {
    case ("add", 2), ("remove", 2): throw UsageError("say which REPLICA")
    case ("export-diverged", 2): throw UsageError("say which FILE")
    case ("diff", 3), ("resync", 3), ("seed", 3), ("step-back", 3):
      throw UsageError("'\(action)' takes the array's NAME only")
    default: break
    }
    switch action {
    case "add":
      let address: ListenAddress
      do throws(ListenAddressError) {
        address = try ListenAddress(options.operands[2])
      } catch {
        throw UsageError("'\(options.operands[2])' \(error)")
      }
      let modeName = try options.required("mode", as: .text)
      guard let mode = ReplicaMode(name: modeName) else {
        throw UsageError("--mode: '\(modeName)' is not one of A, B, C")
      }
      let policyName = try options.required("on-peer-loss", as: .choice(["continue", "stop"]))
      let range = ReplicaOrder.timeoutMilliseconds
      let timeout = try options.required(
        "peer-timeout",
        as: .duration(in: range.lowerBound * 1_000_000...range.upperBound * 1_000_000))
      order = .add(
        address: address.description, mode: mode,
        lossPolicy: LossPolicy(name: policyName) ?? .goOn,
        timeoutMilliseconds: UInt32(clamping: timeout / 1_000_000))
    case "remove": order = .remove(options.operands[2])
    case "verify": return try verify(name, options)
    case "diff": order = .diff
    case "export-diverged":
      order = .exportDiverged(
        SmallFile.absolute(
          try Conversion<String>.path.convert(
            options.operands[2], for: "FILE")))
    case "resync":
      let path = try options.value("exported", as: .path)
      guard path == nil || !options.isGiven("discard") else {
        throw UsageError("--exported and --discard exclude each other")
      }
      order = .resync(
        discard: try options.value("discard", as: .text),
        exported: path.map { SmallFile.absolute($0) })
    case "seed":
      guard try options.value("discard", as: .text) == name else {
        throw UsageError("what '\(name)' holds is given up: say --discard \(name)")
      }
      order = .seed
    case "step-back":
      guard !options.flag("give-up") || !options.flag("follow") else {
        throw UsageError("--give-up and --follow exclude each other")
      }
      order = .stepBack(
        options.flag("give-up") ? .giveUp : options.flag("follow") ? .follow : .takeBack)
    default:
      let nearest = nearestName(to: action, among: actions).map { "; did you mean '\($0)'?" } ?? ""
      throw UsageError(
        "ACTION: '\(action)' is not one of \(actions.joined(separator: ", "))\(nearest)")
    }
    return runReplicaOrder("replica", name, order, wantsJSON: options.flag("json"))
  }
}

extension ReplicaCommand {
  private static func verify(
    _ name: String, _ options: ParsedOptions
  ) throws(UsageError) -> Int32 {
    let which = options.operand(2)
    let wantsJSON = options.flag("json")
    guard !options.flag("cancel") else {
      guard which == nil, !options.flag("no-wait") else {
        throw UsageError("--cancel goes with nothing else")
      }
      return runReplicaOrder("replica", name, .cancelVerify, wantsJSON: wantsJSON)
    }
    guard !options.flag("no-wait") else {
      return runReplicaOrder("replica", name, .verify(which), wantsJSON: wantsJSON)
    }
    return runUpkeep("replica", name, waits: true) { session throws(ControlError) in
      let outcome = try session.order(.replica(.verify(which)))
      let (standing, array) = try UpkeepWait(session).run { array in
        report(array, which)?.standing
          ?? .unfinished("the server has forgotten it: was it restarted?")
      }
      var text = "\(name): \(standing.words)\n"
      if wantsJSON {
        let document: JSONValue = [
          "version": .integer(1), "name": .string(name), "done": .array([outcome.json]),
          "standing": .string(standing.name), "words": .string(standing.words),
          "verify": report(array, which)?.json ?? .null,
        ]
        text = document.text + "\n"
      } else {
        for finding in report(array, which)?.findings ?? [] {
          let range = finding.range
          text +=
            "  bytes \(range.offsetBytes) to \(range.offsetBytes + range.byteCount - 1): "
            + "\(finding.outcome)\n"
        }
      }
      return Terminal.output.write(text) ? standing.exitCode : ExitCode.unfinished
    }
  }

  /// The comparison with a replica, as the command line names it.
  private static func report(_ array: ArrayReport, _ which: String?) -> VerificationReport? {
    array.replication?.peers.first {
      which == nil || $0.nodeID == which || $0.address == which
    }?.verification
  }
}

/// `ashlar promote NAME`.
enum PromoteCommand {
  static let command = Command(
    name: "promote",
    summary: "make a replica the primary",
    discussion: [
      "The replica NAME takes writes from now on, in a timeline of its own; a primary that comes back "
        + "becomes its replica, and its writes are refused. Without --force it is done only when "
        + "nothing can be lost: after 'ashlar demote' at the primary, or when the primary was to stop "
        + "without this replica (--on-peer-loss stop).",
      "With --force NAME it is done although the primary may have acknowledged writes that are not here; "
        + "what may be lost is said, and recorded in the array's events. A replica to which a copy is "
        + "not complete is never promoted.",
      "On a primary that has been started and has not heard its replicas, --force lets it go on "
        + "without them.",
    ],
    operands: [Operand("NAME", help: "the array")],
    options: [
      Option(
        "force", "NAME",
        help:
          "although something may be lost, which the command says without this; the array's name "
          + "again, so that nobody does it to another by mistake"),
      .flag("json", help: "print a JSON object"),
    ],
    run: { options throws(UsageError) in
      let name = try Conversion<String>.deviceName.convert(options.operands[0], for: "NAME")
      let forced = try options.value("force", as: .text)
      guard forced == nil || forced == name else {
        throw UsageError("--force: '\(forced ?? "")' is not the array '\(name)'")
      }
      return runReplicaOrder(
        "promote", name, .promote(isForced: forced != nil),
        wantsJSON: options.flag("json"))
    })
}

/// `ashlar demote NAME`.
enum DemoteCommand {
  static let command = Command(
    name: "demote",
    summary: "hand the role of the primary over to a replica that is in step",
    discussion: [
      "The primary NAME ends what is under way, makes everything durable on both sides and takes no "
        + "more writes. Then 'ashlar promote' at the replica needs no --force, and nothing is lost. Stop "
        + "what uses the device first: its writes fail."
    ],
    operands: [Operand("NAME", help: "the array")],
    options: [.flag("json", help: "print a JSON object")],
    run: { options throws(UsageError) in
      let name = try Conversion<String>.deviceName.convert(options.operands[0], for: "NAME")
      return runReplicaOrder("demote", name, .demote, wantsJSON: options.flag("json"))
    })
}

private func runReplicaOrder(
  _ command: String, _ name: String, _ order: ReplicaOrder, wantsJSON: Bool
) -> Int32 {
  let session: OrderSession
  do throws(RuntimeDirectoryError) {
    session = try OrderSession(command: command, name: name)
  } catch {
    Complaint.print(command: command, error.description)
    return ExitCode.failure
  }
  do throws(ControlError) {
    return session.report([try session.order(.replica(order))], wantsJSON: wantsJSON)
  } catch {
    return session.failed(error)
  }
}
