import Glibc
import IO
import Testing

@testable import Control

/// A control server on the fake machine, and what a test needs of it.
@MainActor
private final class Stage {
  let machine = FakeMachine()
  let listener = FakeListener()
  let target = FakeTarget()
  let server: ControlServer<FakeMachine>
  private(set) var hasReturned = false

  init(_ limits: ControlLimits = ControlLimits()) {
    server = ControlServer(machine: machine, listener: listener, target: target, limits: limits)
    Task {
      await server.run()
      hasReturned = true
    }
  }

  /// Lets the tasks run until something holds.
  ///
  /// The bound in real time is only there to end a test that has failed.
  func settle(_ condition: () async -> Bool) async -> Bool {
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .seconds(60))
    while clock.now < end {
      if await condition() { return true }
      await Task.yield()
    }
    return await condition()
  }

  func answers(_ stream: FakeStream, _ count: Int) async throws -> [ControlResponse] {
    #expect(await settle { stream.lines.count >= count && stream.sent.last == 10 })
    return try stream.lines.map { line in try ControlResponse(line: line) }
  }
}

@Suite("Control: the server")
@MainActor
struct ControlServerTests {
  private func code(_ response: ControlResponse?) -> String? {
    guard case .refused(let refusal) = response else { return nil }
    return refusal.code
  }

  @Test(
    "requests are answered in order, whatever pieces they arrive in", arguments: [1, 7, 100_000])
  func answersInOrder(chunkByteCount: Int) async throws {
    let stage = Stage()
    let stream = stage.listener.connect()
    stream.chunkByteCount = chunkByteCount
    stream.deliver(ControlRequest.status.line + Array("\n\nnonsense\r\n".utf8))
    stream.deliver(ControlRequest.status.line)
    let answers = try await stage.answers(stream, 3)
    #expect(answers.count == 3)
    #expect(answers.first == .status(sampleReport, processID: getpid()))
    #expect(code(answers.dropFirst().first) == "malformed_request")
    #expect(answers.last == answers.first)
    #expect(!stream.isClosed)
    stream.end()
    #expect(await stage.settle { stream.isClosed })
  }

  @Test("stop is answered first and then done, also when the client cannot be answered")
  func stops() async throws {
    let stage = Stage()
    let stream = stage.listener.connect()
    stream.deliver(ControlRequest.stop.line)
    #expect(try await stage.answers(stream, 1) == [.stopping(processID: getpid())])
    #expect(await stage.settle { await stage.target.stopCount == 1 })
    let deaf = stage.listener.connect()
    deaf.chunkByteCount = 0
    deaf.deliver(ControlRequest.stop.line)
    #expect(await stage.settle { deaf.hasBlockedSender })
    #expect(await stage.target.stopCount == 1)
    deaf.shutdown()
    #expect(await stage.settle { await stage.target.stopCount == 2 })
    #expect(await stage.settle { deaf.isClosed })
  }

  @Test("who asked for the stop is told what came of it", arguments: [nil, "a flush failed"])
  func tellsTheOutcome(complaint: String?) async throws {
    let stage = Stage()
    let stream = stage.listener.connect()
    stream.deliver(ControlRequest.stop.line)
    #expect(try await stage.answers(stream, 1).count == 1)
    await stage.server.stop(complaint: complaint)
    let answers = try await stage.answers(stream, 2)
    #expect(answers.last == .stopped(complaint: complaint, processID: getpid()))
    #expect(await stage.settle { stage.hasReturned && stream.isClosed })
  }

  @Test(
    "who asked for the stop is told what came of it, also when it was slow to take the first answer"
  )
  func tellsTheSlow() async throws {
    let stage = Stage()
    let stream = stage.listener.connect()
    stream.chunkByteCount = 0
    stream.deliver(ControlRequest.stop.line)
    #expect(await stage.settle { stream.hasBlockedSender })
    await stage.server.stop(complaint: "a flush failed")
    // As long as the server takes to notice that it is to end.
    for _ in 0..<1000 { await Task.yield() }
    #expect(!stage.hasReturned)
    stream.chunkByteCount = .max
    stream.deliver([])
    let answers = try await stage.answers(stream, 2)
    #expect(answers.last == .stopped(complaint: "a flush failed", processID: getpid()))
    #expect(await stage.settle { stage.hasReturned && stream.isClosed })
  }

  @Test("who asked for the stop and takes no answer holds up the end for a second, not for ever")
  func deafAtTheEnd() async throws {
    let stage = Stage()
    let stream = stage.listener.connect()
    stream.chunkByteCount = 0
    stream.deliver(ControlRequest.stop.line)
    #expect(await stage.settle { stream.hasBlockedSender })
    await stage.server.stop()
    let isEnded = await stage.settle {
      stage.machine.advance(nanoseconds: 100_000_000)
      return stage.hasReturned && stream.isClosed
    }
    #expect(isEnded)
  }

  @Test("while an order is carried out a status is answered, a second order is refused")
  func carriesOutOneOrder() async throws {
    let stage = Stage()
    let first = stage.listener.connect()
    first.deliver(ControlRequest.order(.failMember("1")).line)
    #expect(await stage.settle { await stage.target.orders == [.failMember("1")] })
    let second = stage.listener.connect()
    second.deliver(ControlRequest.order(.pauseScrub).line + ControlRequest.status.line)
    let answers = try await stage.answers(second, 2)
    #expect(code(answers.first) == "busy")
    #expect(answers.last == .status(sampleReport, processID: getpid()))
    #expect(await stage.target.orders.count == 1)
    let done = OrderOutcome("it is out")
    await stage.target.finish(.success(done))
    #expect(try await stage.answers(first, 1) == [.done(done, processID: getpid())])
    first.deliver(ControlRequest.order(.pauseScrub).line)
    #expect(await stage.settle { await stage.target.orders.count == 2 })
    await stage.target.finish(.failure(ControlRefusal(code: "c", message: "m", action: "a")))
    #expect(code(try await stage.answers(first, 2).last) == "c")
  }

  @Test("who waits for the end of an order is not idle, and an end of the server waits for it")
  func waitsForAnOrder() async throws {
    let stage = Stage()
    let stream = stage.listener.connect()
    stream.deliver(ControlRequest.order(.cancelScrub).line)
    #expect(await stage.settle { await stage.target.orders.count == 1 })
    for _ in 0..<60 {
      #expect(await stage.settle { stage.machine.sleeperCount > 0 })
      stage.machine.advance(nanoseconds: 1_000_000_000)
    }
    #expect(!stream.isClosed)
    await stage.server.stop()
    #expect(!stage.hasReturned)
    await stage.target.finish(.success(OrderOutcome("done")))
    #expect(await stage.settle { stage.hasReturned && stream.isClosed })
  }

  @Test("those who wait for the end of a stop keep nobody out, and go last")
  func stopsKeepNobodyOut() async throws {
    var limits = ControlLimits()
    limits.connectionCountMax = 2
    let stage = Stage(limits)
    var waiting: [FakeStream] = []
    for _ in 0..<2 {
      let stream = stage.listener.connect()
      stream.deliver(ControlRequest.stop.line)
      #expect(try await stage.answers(stream, 1).count == 1)
      waiting.append(stream)
    }
    let asking = stage.listener.connect()
    asking.deliver(ControlRequest.status.line)
    #expect(try await stage.answers(asking, 1).count == 1)
    #expect(await stage.settle { waiting[0].isClosed })
    // Now the one that asks for a status goes before the one that still waits.
    let next = stage.listener.connect()
    next.deliver(ControlRequest.status.line)
    #expect(try await stage.answers(next, 1).count == 1)
    #expect(await stage.settle { asking.isClosed })
    #expect(!waiting[1].isClosed)
    await stage.server.stop()
    #expect(await stage.settle { stage.hasReturned && waiting[1].isClosed })
  }

  @Test("a line of 64 KiB is read, a longer one refused and the connection closed")
  func boundsLines() async throws {
    let stage = Stage()
    let padded = { (byteCount: Int) in
      let head = Array(#"{"version":1,"command":"status""#.utf8)
      let padding = [UInt8](repeating: 32, count: byteCount - head.count - 2)
      return head + padding + Array("}\n".utf8)
    }
    let stream = stage.listener.connect()
    stream.deliver(padded(ControlRequest.lineByteCountMax))
    #expect(try await stage.answers(stream, 1) == [.status(sampleReport, processID: getpid())])
    stream.deliver(padded(ControlRequest.lineByteCountMax + 1))
    #expect(code(try await stage.answers(stream, 2).last) == "line_too_long")
    #expect(await stage.settle { stream.isClosed })
  }

  @Test("a silent connection ends after the idle time, one that talks does not")
  func endsIdleConnections() async throws {
    let stage = Stage()
    let silent = stage.listener.connect()
    let talking = stage.listener.connect()
    let deaf = stage.listener.connect()
    deaf.chunkByteCount = 0
    deaf.deliver(ControlRequest.status.line)
    for second in 1...31 {
      #expect(await stage.settle { stage.machine.sleeperCount == 1 })
      if second % 10 == 0 {
        talking.deliver(ControlRequest.status.line)
        _ = try await stage.answers(talking, second / 10)
      }
      stage.machine.advance(nanoseconds: 1_000_000_000)
    }
    #expect(await stage.settle { silent.isClosed && deaf.isClosed })
    #expect(!talking.isClosed)
    talking.end()
    #expect(await stage.settle { talking.isClosed })
    // The task that looks after idle times ends with the last connection.
    stage.machine.advance(nanoseconds: 1_000_000_000)
    #expect(await stage.settle { stage.machine.sleeperCount == 0 })
  }

  @Test("one connection too many ends the one that was silent longest")
  func evictsTheMostSilent() async throws {
    var limits = ControlLimits()
    limits.connectionCountMax = 2
    let stage = Stage(limits)
    let first = stage.listener.connect()
    let second = stage.listener.connect()
    #expect(await stage.settle { stage.machine.sleeperCount == 1 })
    stage.machine.advance(nanoseconds: 1)
    first.deliver(ControlRequest.status.line)
    _ = try await stage.answers(first, 1)
    let third = stage.listener.connect()
    third.deliver(ControlRequest.status.line)
    _ = try await stage.answers(third, 1)
    #expect(second.isClosed)
    #expect(!first.isClosed)
  }

  @Test("an accept that fails is tried again")
  func survivesAcceptErrors() async throws {
    let stage = Stage()
    stage.listener.offer(.failure(SystemError(EMFILE)))
    let stream = stage.listener.connect()
    stream.deliver(ControlRequest.status.line)
    #expect(await stage.settle { stage.machine.sleeperCount == 1 })
    #expect(stream.sent.isEmpty)
    stage.machine.advance(nanoseconds: 100_000_000)
    _ = try await stage.answers(stream, 1)
  }

  @Test("stop() ends every connection, closes the listener and returns from run()")
  func returnsAfterStop() async throws {
    let stage = Stage()
    let streams = (0..<3).map { _ in stage.listener.connect() }
    #expect(await stage.settle { stage.machine.sleeperCount == 1 })
    await stage.server.stop()
    await stage.server.stop()
    #expect(await stage.settle { stage.hasReturned })
    #expect(stage.listener.isClosed)
    for stream in streams { #expect(stream.isClosed) }
  }
}
