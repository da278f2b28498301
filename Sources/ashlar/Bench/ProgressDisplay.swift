import Bench
import Control

/// Shows how far a run has come: one line that is written over on a terminal, else a plain line now
/// and then; both on standard error.
struct ProgressDisplay: Sendable {
  /// fio's `--eta`.
  enum Mode: Sendable {
    case automatic, always, never
  }

  private let isRewriting: Bool
  /// How often to show something; 0 for never.
  let periodNanoseconds: UInt64

  init(_ mode: Mode) {
    isRewriting = Terminal.error.isInteractive
    switch mode {
    case .never: periodNanoseconds = 0
    case .always: periodNanoseconds = 1_000_000_000
    case .automatic: periodNanoseconds = isRewriting ? 500_000_000 : 10_000_000_000
    }
  }

  func show(_ progress: RunProgress) {
    // A line that wraps could not be written over.
    let line = progress.line
    Terminal.error.write(isRewriting ? "\r\(line.prefix(79))\u{1B}[K" : "\(line)\n")
  }

  /// Takes the line away, so that what follows starts on a clean one.
  func clear() {
    if isRewriting, periodNanoseconds > 0 { Terminal.error.write("\r\u{1B}[K") }
  }
}
