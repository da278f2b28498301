import Control
import Glibc

@main
struct Main {
  /// Every command; see `Command` for how one is declared.
  static let program = Program(
    name: "ashlar", version: ashlarVersion,
    summary: "a block device service for databases that must not lose a write",
    commands: [
      CreateCommand.command,
      serveCommand,
      StopCommand.command,
      AttachCommand.command,
      DetachCommand.command,
      StatusCommand.command,
      ExamineCommand.command,
      MemberCommand.command,
      RebuildCommand.command,
      ScrubCommand.command,
      ReplicaCommand.command,
      PromoteCommand.command,
      DemoteCommand.command,
      BenchCommand.command,
    ])

  static func main() {
    Terminal.occupyClosedStreams()
    // A reader that goes away is an error of the write, not the end of the program.
    _ = signal(SIGPIPE, SIG_IGN)
    let code = program.run(
      Array(CommandLine.arguments.dropFirst()),
      output: { Terminal.output.write($0) },
      complaint: { Terminal.error.write($0) })
    exit(code)
  }
}
