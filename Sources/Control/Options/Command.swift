// The command line of `ashlar`, declared as tables.
//
// A subcommand is one `Command` value. Its table of options is the only description there is:
// parsing, `--help` and error messages are made from it.
//
//     let serveCommand = Command(
//       name: "serve",
//       summary: "serve a block device over NBD",
//       usage: ["--file PATH [options]", "--memory SIZE [options]"],
//       options: [
//         .init("memory", "SIZE", help: "serve SIZE bytes of memory, forgotten at the end"),
//         .init("listen", "ADDRESS", isRepeatable: true, help: "where to listen: unix:PATH ..."),
//         .init("connections", "N", default: "100", help: "how many clients at most"),
//         .flag("read-only", help: "refuse writes"),
//       ],
//       run: { options throws(UsageError) in
//         let memory = try options.value("memory", as: .size(in: 512...(1 << 62)))  // UInt64?
//         let listen = try options.values("listen", as: .listenAddress)  // [ListenAddress]
//         let connections = try options.required("connections", as: .integer(in: 1...10_000))
//         guard options.isGiven("file") != (memory != nil) else {
//           throw UsageError("give either --file or --memory")
//         }
//         ...
//         return ExitCode.success
//       })
//
// `run` may throw a `UsageError`; it is printed as "ashlar serve: ...; see 'ashlar serve --help'"
// and ends the program with `ExitCode.usage`. Everything else `run` reports itself, with
// `Complaint.print(command: "serve", "...")`, and returns its exit code.

/// The exit codes of every `ashlar` command.
package enum ExitCode {
  /// It was done; for `status --check`: everything is optimal.
  package static let success: Int32 = 0
  /// It could not be done; for `status --check`: impaired, or stopping.
  package static let failure: Int32 = 1
  /// `status --check` only: a device has failed, or its server does not answer.
  package static let deviceFailed: Int32 = 2
  /// `rebuild --wait` and `scrub --wait` only: it has not come to its end.
  package static let unfinished: Int32 = 2
  /// `status --check` only: not running.
  package static let notRunning: Int32 = 3
  /// The command line is wrong, and nothing was done: `EX_USAGE`.
  package static let usage: Int32 = 64
}

/// A mistake in the command line: one line that says what is wrong and what would be right.
package struct UsageError: Error, Equatable, Sendable {
  package let message: String

  package init(_ message: String) {
    self.message = message
  }
}

/// One option of a command.
package struct Option: Sendable {
  /// Without the two dashes.
  package let name: String
  /// What stands for the value in the help, for example `SIZE`; nil for a flag, which takes none.
  package let placeholder: String?
  /// The text that counts as given when the option is not; shown in the help.
  package let defaultText: String?
  package let help: String
  package let isRepeatable: Bool
  package let isRequired: Bool
  /// Other names of it, without the two dashes.
  package let aliases: [String]
  /// A flag that can be written with its value, too: `--NAME=1`, `--NAME=0`.
  package let isToggle: Bool

  /// An option with a value.
  package init(
    _ name: String, _ placeholder: String, default defaultText: String? = nil,
    isRepeatable: Bool = false, isRequired: Bool = false, aliases: [String] = [], help: String
  ) {
    precondition(defaultText == nil || !isRequired, "a default makes 'required' meaningless")
    self.name = name
    self.aliases = aliases
    self.isToggle = false
    self.placeholder = placeholder
    self.defaultText = defaultText
    self.help = help
    self.isRepeatable = isRepeatable
    self.isRequired = isRequired
  }

  private init(
    flag name: String, aliases: [String] = [], default defaultText: String? = nil,
    isToggle: Bool = false, help: String
  ) {
    self.name = name
    self.aliases = aliases
    self.isToggle = isToggle
    self.placeholder = nil
    self.defaultText = defaultText
    self.help = help
    self.isRepeatable = false
    self.isRequired = false
  }

  /// An option without a value.
  package static func flag(_ name: String, help: String) -> Option {
    Option(flag: name, help: help)
  }

  /// A flag that can also be given a value, to take it back or to be explicit: `--NAME=0`.
  package static func toggle(
    _ name: String, aliases: [String] = [], isOnByDefault: Bool = false, help: String
  ) -> Option {
    Option(
      flag: name, aliases: aliases, default: isOnByDefault ? "1" : nil, isToggle: true,
      help: help)
  }

  /// Every name that stands for it.
  var names: [String] { [name] + aliases }
}

/// A positional argument of a command.
package struct Operand: Sendable {
  /// For example `NAME`, as in the help.
  package let name: String
  package let help: String
  package let isRequired: Bool
  /// Takes all that is left; for the last operand only.
  package let isRepeatable: Bool

  package init(
    _ name: String, isRequired: Bool = true, isRepeatable: Bool = false, help: String
  ) {
    self.name = name
    self.help = help
    self.isRequired = isRequired
    self.isRepeatable = isRepeatable
  }
}

/// A subcommand of `ashlar`.
package struct Command: Sendable {
  package let name: String
  /// What it does, for the list of commands: lower case, no full stop.
  package let summary: String
  /// The ways to call it, without "ashlar NAME"; made from the tables when empty.
  package let usage: [String]
  /// Paragraphs of the help between usage and options.
  package let discussion: [String]
  package let operands: [Operand]
  package let options: [Option]
  /// Headings in the list of options, by the name of the option that each stands above.
  package let headings: [String: String]
  package let run: @Sendable (ParsedOptions) throws(UsageError) -> Int32

  package init(
    name: String, summary: String, usage: [String] = [], discussion: [String] = [],
    operands: [Operand] = [], options: [Option] = [], headings: [String: String] = [:],
    run: @escaping @Sendable (ParsedOptions) throws(UsageError) -> Int32
  ) {
    precondition(
      Set(options.flatMap(\.names)).count == options.flatMap(\.names).count,
      "an option is declared twice in \(name)")
    precondition(
      !operands.dropLast().contains { $0.isRepeatable }, "only the last operand may repeat")
    self.name = name
    self.summary = summary
    self.usage = usage
    self.discussion = discussion
    self.operands = operands
    precondition(
      headings.keys.allSatisfy { name in options.contains { $0.name == name } },
      "a heading above an option that \(name) lacks")
    self.options = options
    self.headings = headings
    self.run = run
  }
}
