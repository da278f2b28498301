/// What a command line says, checked against a command's table.
///
/// Every name asked for must be in the table: a wrong one is a bug and traps.
package struct ParsedOptions: Sendable {
  private let command: Command
  private var texts: [String: [String]] = [:]
  private var flags: Set<String> = []
  /// The positional arguments in order; as many as the table allows, at least those required.
  package private(set) var operands: [String] = []

  /// Parses the arguments behind the command's name.
  ///
  /// Understands `--name value`, `--name=value`, flags, toggles (`--name`, `--name=0`), aliases,
  /// and `--`, behind which everything is
  /// positional. A value that starts with `--` is taken only in the form with `=`, so that a
  /// forgotten value is noticed.
  package init(_ arguments: [String], for command: Command) throws(UsageError) {
    self.command = command
    var rest = arguments[...]
    var optionsEnded = false
    while let argument = rest.popFirst() {
      if optionsEnded || !argument.hasPrefix("-") || argument == "-" {
        try takeOperand(argument)
      } else if argument == "--" {
        optionsEnded = true
      } else {
        try takeOption(argument, &rest)
      }
    }
    try checkCompleteness()
  }

  /// Whether the option is on the command line; a default does not count.
  package func isGiven(_ name: String) -> Bool {
    _ = declaration(of: name)
    return flags.contains(name) || texts[name] != nil
  }

  /// Whether the flag or toggle is set.
  package func flag(_ name: String) -> Bool {
    let option = declaration(of: name)
    precondition(option.placeholder == nil, "--\(name) takes a value")
    guard option.isToggle else { return flags.contains(name) }
    return (texts[name]?.first ?? option.defaultText) == "1"
  }

  /// The text of an option or toggle as it was given; nil when it is not on the command line.
  ///
  /// For tables that know more than a command line, and convert by themselves.
  package func text(_ name: String) -> String? {
    precondition(!declaration(of: name).isRepeatable, "--\(name) repeats: ask for its values")
    return texts[name]?.first
  }

  /// The value of an option that does not repeat, else its default, else nil.
  package func value<Value>(
    _ name: String, as conversion: Conversion<Value>
  ) throws(UsageError) -> Value? {
    precondition(!declaration(of: name).isRepeatable, "--\(name) repeats: ask for its values")
    return try values(name, as: conversion).first
  }

  /// The value of an option that has a default or is required.
  package func required<Value>(
    _ name: String, as conversion: Conversion<Value>
  ) throws(UsageError) -> Value {
    guard let value = try value(name, as: conversion) else {
      preconditionFailure("--\(name) has no default and is not required")
    }
    return value
  }

  /// All values of an option in the order given; the default alone when there is none.
  package func values<Value>(
    _ name: String, as conversion: Conversion<Value>
  ) throws(UsageError) -> [Value] {
    let option = declaration(of: name)
    precondition(option.placeholder != nil, "--\(name) is a flag")
    var values: [Value] = []
    for text in texts[name] ?? option.defaultText.map({ [$0] }) ?? [] {
      values.append(try conversion.convert(text, for: "--\(name)"))
    }
    return values
  }

  /// The positional argument at `index`, or nil when it is optional and missing.
  package func operand(_ index: Int) -> String? {
    precondition(index < command.operands.count)
    return index < operands.count ? operands[index] : nil
  }

  private func declaration(of name: String) -> Option {
    guard let option = command.options.first(where: { $0.name == name }) else {
      preconditionFailure("\(command.name) declares no option --\(name)")
    }
    return option
  }

  private mutating func takeOperand(_ argument: String) throws(UsageError) {
    guard operands.count < command.operands.count || command.operands.last?.isRepeatable == true
    else { throw UsageError("surplus argument '\(argument)'") }
    operands.append(argument)
  }

  private mutating func takeOption(
    _ argument: String, _ rest: inout ArraySlice<String>
  ) throws(UsageError) {
    let body = argument.dropFirst(2)
    let equals = body.firstIndex(of: "=")
    let given = String(body[..<(equals ?? body.endIndex)])
    guard
      argument.hasPrefix("--"),
      let option = command.options.first(where: { $0.names.contains(given) })
    else { throw unknownOption(argument.hasPrefix("--") ? "--\(given)" : argument) }
    let name = option.name

    if option.isToggle {
      let text = equals.map { String(body[body.index(after: $0)...]) } ?? "1"
      guard text == "1" || text == "0" else {
        throw UsageError("--\(given): '\(text)' is neither 0 nor 1")
      }
      guard texts.updateValue([text], forKey: name) == nil else {
        throw UsageError("--\(name) is given twice")
      }
      return
    }
    guard let placeholder = option.placeholder else {
      guard equals == nil else { throw UsageError("--\(name) is a flag and takes no value") }
      guard flags.insert(name).inserted else { throw UsageError("--\(name) is given twice") }
      return
    }
    let text: String
    if let equals {
      text = String(body[body.index(after: equals)...])
    } else if let next = rest.first, !next.hasPrefix("--") {
      text = next
      rest.removeFirst()
    } else {
      throw UsageError("--\(name) needs a value: --\(name) \(placeholder)")
    }
    guard option.isRepeatable || texts[name] == nil else {
      throw UsageError("--\(name) is given twice")
    }
    texts[name, default: []].append(text)
  }

  private func unknownOption(_ shown: String) -> UsageError {
    let nearest = nearestName(
      to: shown, among: command.options.flatMap { $0.names.map { "--\($0)" } } + ["--help"])
    guard let nearest else { return UsageError("unknown option '\(shown)'") }
    return UsageError("unknown option '\(shown)'; did you mean '\(nearest)'?")
  }

  private func checkCompleteness() throws(UsageError) {
    for option in command.options where option.isRequired && texts[option.name] == nil {
      throw UsageError("--\(option.name) \(option.placeholder ?? "") is missing")
    }
    for (index, operand) in command.operands.enumerated()
    where operand.isRequired && index >= operands.count {
      throw UsageError("\(operand.name) is missing")
    }
  }
}

/// The candidate that differs least from `name`, if it looks like a slip of the finger.
///
/// - Returns: nil when more than a third of the letters would have to change.
package func nearestName(to name: String, among candidates: [String]) -> String? {
  let scored = candidates.map { ($0, editDistance(Array(name.utf8), Array($0.utf8))) }
  guard let best = scored.min(by: { $0.1 < $1.1 }) else { return nil }
  if best.1 <= 1 { return best.0 }
  // A beginning of one name only counts as that name: `--rate` is nearer to `--rate_iops` than to
  // `--name`.
  let continued = candidates.filter { $0.hasPrefix(name) }
  if name.utf8.count > 2, continued.count == 1 { return continued.first }
  return best.1 <= name.utf8.count / 3 ? best.0 : nil
}

/// How many letters must be inserted, removed, replaced or swapped with a neighbour to turn one
/// name into the other (optimal string alignment).
private func editDistance(_ source: [UInt8], _ target: [UInt8]) -> Int {
  var rows = [Array(0...target.count)]
  for (row, byte) in source.enumerated() {
    var current = [row + 1]
    for (column, other) in target.enumerated() {
      let replaced = rows[row][column] + (byte == other ? 0 : 1)
      var best = min(replaced, rows[row][column + 1] + 1, current[column] + 1)
      if row > 0, column > 0, byte == target[column - 1], other == source[row - 1] {
        best = min(best, rows[row - 1][column - 1] + 1)
      }
      current.append(best)
    }
    rows.append(current)
  }
  return rows[source.count][target.count]
}
