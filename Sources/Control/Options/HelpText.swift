/// Lays out `--help` from the tables, in 80 columns.
enum HelpText {
  private static let width = 80
  /// Where the explanations start.
  private static let column = 26

  static func of(_ program: Program) -> String {
    var text = "\(program.name) \(program.version): \(program.summary)\n\n"
    text += "usage: \(program.name) COMMAND [options]\n\ncommands:\n"
    for command in program.commands { text += row("  \(command.name)", command.summary, 14) }
    text += row("  help", "show this, or the help of a command: \(program.name) help COMMAND", 14)
    text += row("  version", "show the version", 14)
    text += "\nEvery command explains itself with --help.\n"
    text += "Exit codes: 0 done, 1 failed, 64 wrong command line; 'status --check' has more.\n"
    return text
  }

  static func of(_ command: Command, program: String) -> String {
    var text = "\(program) \(command.name): \(command.summary)\n\n"
    let usage = command.usage.isEmpty ? [derivedUsage(command)] : command.usage
    for (index, line) in usage.enumerated() {
      let call = line.isEmpty ? "" : " \(line)"
      text += "\(index == 0 ? "usage:" : "      ") \(program) \(command.name)\(call)\n"
    }
    for paragraph in command.discussion { text += "\n" + wrapped(paragraph, indent: 0) }
    if !command.operands.isEmpty {
      text += "\narguments:\n"
      for operand in command.operands { text += row("  \(operand.name)", operand.help, column) }
    }
    let startsWithHeading = command.options.first.map { command.headings[$0.name] != nil } ?? false
    if !startsWithHeading { text += "\noptions:\n" }
    for option in command.options {
      if let heading = command.headings[option.name] { text += "\n\(heading):\n" }
      text += row("  \(syntax(option))", notes(option), column)
    }
    return text + row("  --help", "show this", column)
  }

  private static func derivedUsage(_ command: Command) -> String {
    var words: [String] = []
    for operand in command.operands {
      let name = operand.name + (operand.isRepeatable ? "..." : "")
      words.append(operand.isRequired ? name : "[\(name)]")
    }
    for option in command.options where option.isRequired { words.append(syntax(option)) }
    if command.options.contains(where: { !$0.isRequired }) { words.append("[options]") }
    return words.joined(separator: " ")
  }

  private static func syntax(_ option: Option) -> String {
    if option.isToggle { return "--\(option.name)[=0|1]" }
    return option.placeholder.map { "--\(option.name) \($0)" } ?? "--\(option.name)"
  }

  private static func notes(_ option: Option) -> String {
    var notes: [String] = []
    if option.isRequired { notes.append("required") }
    if option.isRepeatable { notes.append("may be repeated") }
    for alias in option.aliases { notes.append("also --\(alias)") }
    if let text = option.defaultText, !text.isEmpty { notes.append("default \(text)") }
    return notes.isEmpty ? option.help : "\(option.help) (\(notes.joined(separator: ", ")))"
  }

  /// A left and a right column; a left side that is too long gets a line of its own.
  private static func row(_ left: String, _ right: String, _ column: Int) -> String {
    let lines = wrapped(right, indent: column)
    guard left.count + 2 <= column else { return "\(left)\n\(lines)" }
    return left + lines.dropFirst(left.count)
  }

  private static func wrapped(_ text: String, indent: Int) -> String {
    let margin = String(repeating: " ", count: indent)
    var lines: [String] = []
    var line = ""
    for word in text.split(separator: " ") {
      if !line.isEmpty, indent + line.count + 1 + word.count > width {
        lines.append(margin + line)
        line = ""
      }
      line += line.isEmpty ? String(word) : " \(word)"
    }
    lines.append(margin + line)
    return lines.joined(separator: "\n") + "\n"
  }
}
