import Control
import Glibc
import Units

/// Waits for the end of a rebuild or a scrub, and shows how far it is: a bar that is drawn over on a
/// terminal, else a plain line now and then; both on standard error.
struct UpkeepWait {
  let session: OrderSession
  private let isRewriting = Terminal.error.isInteractive

  /// What is read off one status; more than one may be needed to be sure of an end.
  typealias Judge = (ArrayReport) -> UpkeepStanding

  private static let plainLineNanoseconds: UInt64 = 10_000_000_000
  /// An end that is not certain has to last so long, and be seen more than once.
  private static let certainNanoseconds: UInt64 = 1_000_000_000
  /// What is about to begin has so long for it.
  private static let pendingNanosecondsMax: UInt64 = 60_000_000_000
  /// A server that is silent for so long is given up.
  private static let silenceNanosecondsMax: UInt64 = 30_000_000_000

  init(_ session: OrderSession) { self.session = session }

  /// - Returns: where it stands in the end, never `working`, and the last status.
  /// - Throws: why the first look at it was in vain.
  func run(_ judge: Judge) throws(ControlError) -> (UpkeepStanding, ArrayReport) {
    var last = try session.array()
    // What is done at once needs no line.
    var lines = Deadline(afterNanoseconds: 2_000_000_000)
    var silence = Deadline(afterNanoseconds: Self.silenceNanosecondsMax)
    let began = Deadline.nowNanoseconds
    var endWait: Deadline?
    var pendingWait: Deadline?
    defer { if isRewriting { Terminal.error.write("\r\u{1B}[K") } }
    while true {
      do throws(ControlError) {
        let array = try session.array()
        last = array
        silence = Deadline(afterNanoseconds: Self.silenceNanosecondsMax)
        let standing = judge(array)
        switch standing {
        case .working(let pass, let words):
          (endWait, pendingWait) = (nil, nil)
          show(pass, words, &lines)
        case .paused: return (standing, array)
        case .pending:
          endWait = nil
          if let wait = pendingWait {
            if wait.hasPassed { return (standing, array) }
          } else {
            pendingWait = Deadline(afterNanoseconds: Self.pendingNanosecondsMax)
          }
        case .clean: return (standing, array)
        case .found, .unfinished:
          pendingWait = nil
          if let wait = endWait {
            if wait.hasPassed { return (standing, array) }
          } else {
            endWait = Deadline(afterNanoseconds: Self.certainNanoseconds)
          }
        }
      } catch {
        guard case .noAnswer = error, !silence.hasPassed else {
          return (.unfinished("not at its end: \(error.explained(session.name))"), last)
        }
      }
      Deadline.pause(
        milliseconds: UpkeepStanding.pauseMilliseconds(
          afterNanoseconds: Deadline.nowNanoseconds - began))
    }
  }

  private func show(_ pass: PassReport, _ words: String, _ next: inout Deadline) {
    if isRewriting {
      // A line that wraps could not be written over.
      Terminal.error.write("\r\(PassText.line(pass).prefix(79))\u{1B}[K")
    } else if next.hasPassed {
      next = Deadline(afterNanoseconds: Self.plainLineNanoseconds)
      session.tell("\(words): \(PassText.line(pass))")
    }
  }

  /// Says where it stands.
  ///
  /// - Parameters:
  ///   - standing: to be told.
  ///   - array: the status that it was read off.
  ///   - orders: what was done before, if anything.
  ///   - wantsJSON: as a JSON object.
  /// - Returns: whether it could be said.
  func tell(
    _ standing: UpkeepStanding, _ array: ArrayReport, after orders: [OrderOutcome],
    wantsJSON: Bool
  ) -> Bool {
    var text = "\(session.name): \(standing.words)\n"
    if wantsJSON {
      let document: JSONValue = [
        "version": .integer(1), "name": .string(session.name),
        "done": .array(orders.map(\.json)), "standing": .string(standing.name),
        "words": .string(standing.words), "upkeep": array.upkeep.json,
      ]
      text = document.text + "\n"
    } else if case .working(let pass, let words) = standing {
      text =
        "\(session.name): \(words): \(PassText.line(pass)), \(PassText.amountWords(pass))\n"
    }
    return Terminal.output.write(text)
  }
}
