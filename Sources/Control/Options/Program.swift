/// The commands of a program, and how a command line reaches one of them.
package struct Program: Sendable {
  package let name: String
  package let version: String
  package let summary: String
  package let commands: [Command]

  package init(name: String, version: String, summary: String, commands: [Command]) {
    precondition(Set(commands.map(\.name)).count == commands.count, "a command is declared twice")
    self.name = name
    self.version = version
    self.summary = summary
    self.commands = commands
  }

  /// Runs the command that the arguments name.
  ///
  /// - Parameters:
  ///   - arguments: without the program's own name.
  ///   - output: takes help and version.
  ///   - complaint: takes one line about a wrong command line.
  /// - Returns: the exit code.
  package func run(
    _ arguments: [String], output: (String) -> Void, complaint: (String) -> Void
  ) -> Int32 {
    // Arguments that are not UTF-8 arrive repaired; a repaired path would name another file.
    if let damaged = arguments.first(where: { $0.contains("\u{FFFD}") }) {
      return complain(nil, "the argument '\(damaged)' is not valid UTF-8", complaint)
    }
    guard let first = arguments.first else {
      return complain(nil, "no command given", complaint)
    }
    let rest = Array(arguments.dropFirst())
    switch first {
    case "--version", "version":
      if let surplus = rest.first {
        return complain(nil, "surplus argument '\(surplus)' behind '\(first)'", complaint)
      }
      output("\(name) \(version)\n")
      return ExitCode.success
    case "--help", "-h", "help":
      return help(on: rest, output, complaint)
    default: break
    }
    guard let command = commands.first(where: { $0.name == first }) else {
      return complain(nil, unknownCommand(first), complaint)
    }
    if asksForHelp(rest) {
      output(HelpText.of(command, program: name))
      return ExitCode.success
    }
    do throws(UsageError) {
      return try command.run(ParsedOptions(rest, for: command))
    } catch {
      return complain(command.name, error.message, complaint)
    }
  }

  /// `--help` counts wherever it stands, unless it stands behind `--`.
  private func asksForHelp(_ arguments: [String]) -> Bool {
    arguments.prefix { $0 != "--" }.contains { $0 == "--help" || $0 == "-h" }
  }

  private func help(
    on arguments: [String], _ output: (String) -> Void, _ complaint: (String) -> Void
  ) -> Int32 {
    guard let topic = arguments.first else {
      output(HelpText.of(self))
      return ExitCode.success
    }
    guard arguments.count == 1 else {
      return complain("help", "surplus argument '\(arguments[1])'", complaint)
    }
    guard let command = commands.first(where: { $0.name == topic }) else {
      return complain(nil, unknownCommand(topic), complaint)
    }
    output(HelpText.of(command, program: name))
    return ExitCode.success
  }

  private func unknownCommand(_ word: String) -> String {
    let kind = word.hasPrefix("-") ? "option" : "command"
    let known = commands.map(\.name) + ["help", "version", "--help", "--version"]
    guard let nearest = nearestName(to: word, among: known) else {
      return "unknown \(kind) '\(word)'"
    }
    return "unknown \(kind) '\(word)'; did you mean '\(nearest)'?"
  }

  private func complain(
    _ command: String?, _ message: String, _ complaint: (String) -> Void
  ) -> Int32 {
    let subject = command.map { "\(name) \($0)" } ?? name
    let see = command == "help" ? name : subject
    complaint("\(subject): \(message); see '\(see) --help'\n")
    return ExitCode.usage
  }
}
