import RAID
import Simulator
import Units

/// The operator's words to a simulated array.
struct ArrayUpkeep: Upkeep {
  let engine: ArrayEngine<SimulatedMachine, SimulatedDisk>
  let machine: SimulatedMachine

  func perform(_ action: LifePlan.OperatorAction) async {
    do throws(ScrubCommandError) {
      switch action {
      case .scrub(let repairs): try await engine.beginScrub(repairs ? .repair : .check)
      case .cancelScrub: try await engine.cancelScrub()
      case .pauseRebuild: await engine.pauseRebuild()
      case .resumeRebuild: await engine.resumeRebuild()
      }
    } catch {
      // One is under way, or none.
    }
  }

  func describe() async -> String {
    let status = await engine.status
    let rebuild = status.rebuild.map { ", \($0)" } ?? ""
    let scrub = status.scrub.map { ", \($0)" } ?? ""
    return rebuild + scrub + ", \(status.latencyBudget)"
  }

  func scrub(repairs: Bool) async -> ScrubFindings? {
    // The operator may still have something to say, and cancel this one.
    for _ in 0..<16 {
      await perform(.cancelScrub)
      await perform(.scrub(repairs: repairs))
      while await engine.status.scrub != nil, await !engine.isStopped {
        await machine.sleep(nanoseconds: 1_000_000)
      }
      let last = await engine.status.scrubHistory.last
      if last?.ending != .cancelled, last?.kind == (repairs ? .repair : .check) { break }
    }
    guard let last = await engine.status.scrubHistory.last, last.counts.total > 0 else {
      return nil
    }
    let isAllThatWasFound =
      last.ranges.reduce(0) { $0 + $1.range.byteCount / 4096 } == last.counts.total
    let isNothingElse = last.ranges.allSatisfy { $0.trouble == .lost }
    return ScrubFindings(
      words: "\(last.counts), first \(last.ranges.prefix(4))",
      lostSectors: isAllThatWasFound && isNothingElse
        ? last.ranges.map { Int($0.range.offsetBytes / 512)..<Int($0.range.endBytes / 512) } : nil)
  }
}
