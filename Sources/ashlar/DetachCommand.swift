import Control

/// `ashlar detach NAME`.
enum DetachCommand {
  static let command = Command(
    name: "detach",
    summary: "undo attach",
    discussion: [
      "Refuses while the device is mounted or otherwise used, and says by what. Works whatever has "
        + "happened in between: the server or nbdfuse may be dead, the host restarted, an earlier "
        + "detach interrupted.",
      "--force unmounts the file systems on the device first, and kills an nbdfuse that does not "
        + "end in time.",
    ],
    operands: [Operand("NAME", help: "the device, the NBD URI, or the block device's path")],
    options: [
      Option("timeout", "DURATION", default: "30s", help: "how long detaching may take"),
      .flag("force", help: "see above"),
      .flag("json", help: "print the outcome as a JSON object"),
    ],
    run: run)

  @Sendable private static func run(_ options: ParsedOptions) throws(UsageError) -> Int32 {
    let timeout = try options.required("timeout", as: .duration)
    let target = options.operand(0) ?? ""
    if !target.hasPrefix("/"), NBDAddress(uri: target) == nil {
      _ = try Conversion.deviceName.convert(target, for: "NAME")
    }
    let directory: RuntimeDirectory
    do throws(RuntimeDirectoryError) {
      guard let existing = try RuntimeDirectory.existing() else {
        return failed("\(target) is not attached")
      }
      directory = existing
    } catch {
      return failed(error.description)
    }
    let deadline = Deadline(afterNanoseconds: timeout)
    let attachment = Attachment(directory: directory, until: deadline) { note in
      Terminal.error.write("ashlar detach: \(note)\n")
    }
    do throws(AttachError) {
      let name = try attachment.attachedName(target)
      let device = try attachment.detach(name, isForced: options.flag("force"))
      guard options.flag("json") else { return ExitCode.success }
      let outcome: JSONValue = [
        "version": .integer(1), "name": .string(name), "device": .string(device),
        "detached": true,
      ]
      return Terminal.output.write(outcome.text + "\n") ? ExitCode.success : ExitCode.failure
    } catch {
      return failed(error.description)
    }
  }

  private static func failed(_ message: String) -> Int32 {
    Complaint.print(command: "detach", message)
    return ExitCode.failure
  }
}
