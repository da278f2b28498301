import Glibc
import IO
import Simulator
import Testing

/// Two machines and a connection between them.
private struct Line {
  let server: SimulatedMachine
  let client: SimulatedMachine
  let network: SimulatedNetwork
  let serverEnd: SimulatedStream
  let clientEnd: SimulatedStream

  init(seed: UInt64) {
    let simulation = Simulation(seed: seed)
    server = SimulatedMachine(simulation, name: "server")
    client = SimulatedMachine(simulation, name: "client")
    network = SimulatedNetwork(simulation)
    network.conditions.bufferBytes = 1000
    (clientEnd, serverEnd) = network.pair(client, server)
  }
}

private func pattern(_ index: Int) -> UInt8 { UInt8(truncatingIfNeeded: index &* 31 &+ index >> 8) }

/// Sends `count` bytes in pieces of uneven length.
private func sendPattern(_ count: Int, over stream: SimulatedStream) async throws(StreamError) {
  guard let memory = AlignedMemory(byteCount: count) else { return }
  for index in 0..<count { memory.buffer.slice(index, 1).fill(with: pattern(index)) }
  let list = ScatterList(capacity: 16)
  var offset = 0
  var length = 1
  while offset < count {
    list.removeAll()
    while offset < count, list.vacantPieceCount > 0 {
      let piece = min(length, count - offset)
      list.append(memory.buffer.slice(offset, piece))
      offset += piece
      length = length % 97 + 13
    }
    try await stream.send(list)
  }
}

/// Receives until the stream ends; how many bytes came, all as sent, and why it ended.
private func receivePattern(over stream: SimulatedStream) async -> (count: Int, end: StreamError) {
  guard let memory = AlignedMemory(byteCount: 4096) else { return (0, .closedByPeer) }
  let list = ScatterList(capacity: 3)
  var count = 0
  while true {
    list.removeAll()
    list.append(memory.buffer.slice(0, 5))
    list.append(memory.buffer.slice(1000, 700))
    list.append(memory.buffer.slice(2000, 2))
    do throws(StreamError) {
      var left = try await stream.receive(into: list)
      for index in 0..<3 {
        let piece = list.piece(index)
        for byte in 0..<min(left, piece.byteCount) {
          guard piece.bytes.unsafeByte(byte) == pattern(count) else {
            return (count, .broken(SystemError(EILSEQ)))
          }
          count += 1
        }
        left -= min(left, piece.byteCount)
      }
    } catch { return (count, error) }
  }
}

@Suite("IO: the errno policy of streams")
struct ByteStreamWholeTests {
  private struct Ends: Equatable, Sendable {
    var receivedCount = 0
    var receiveEnd: StreamError?
    var sendEnd: StreamError?
  }

  /// The server sends, the client receives; both close.
  private func transfer(_ line: Line, _ count: Int) throws -> Ends {
    let ends = try line.client.run { () -> Ends in
      let sending = Task(executorPreference: line.server) { () -> StreamError? in
        do throws(StreamError) {
          try await sendPattern(count, over: line.serverEnd)
        } catch {
          await line.serverEnd.close()
          return error
        }
        await line.serverEnd.close()
        return nil
      }
      let (received, end) = await receivePattern(over: line.clientEnd)
      await line.clientEnd.close()
      return Ends(receivedCount: received, receiveEnd: end, sendEnd: await sending.value)
    }
    return try #require(ends)
  }

  @Test("every byte arrives in order, in whatever pieces", arguments: 1...30 as ClosedRange<UInt64>)
  func everythingArrives(seed: UInt64) throws {
    let ends = try transfer(Line(seed: seed), 20_000)
    #expect(ends == Ends(receivedCount: 20_000, receiveEnd: .closedByPeer, sendEnd: nil))
  }

  @Test(
    "an interrupted, repeated or short call changes nothing, whichever it is",
    arguments: [.failure(EINTR), .failure(EAGAIN), .short, .count(1)] as [InjectedResult])
  func transientFaults(fault: InjectedResult) throws {
    for side in [\Line.server, \Line.client] {
      var number = 1
      while true {
        let line = Line(seed: 5)
        line[keyPath: side].faultPlan.fail(operation: number, with: fault)
        let ends = try transfer(line, 3000)
        #expect(ends == Ends(receivedCount: 3000, receiveEnd: .closedByPeer, sendEnd: nil))
        guard line[keyPath: side].faultPlan.hitCount > 0 else { break }
        number += 1
      }
      #expect(number > 3)
    }
  }

  @Test(
    "any other error ends the stream with it, and is not tried again",
    arguments: [ECONNRESET, EPIPE, EIO, ECANCELED, ENOMEM, ETIMEDOUT] as [Int32])
  func finalFaults(errorNumber: Int32) throws {
    for side in [\Line.server, \Line.client] {
      var number = 1
      while true {
        let line = Line(seed: 5)
        let plan = line[keyPath: side].faultPlan
        plan.fail(operation: number, with: .failure(errorNumber))
        let ends = try transfer(line, 3000)
        guard plan.hitCount > 0 else {
          #expect(ends == Ends(receivedCount: 3000, receiveEnd: .closedByPeer, sendEnd: nil))
          break
        }
        let own = side == \Line.server ? ends.sendEnd : ends.receiveEnd
        #expect(own == .broken(SystemError(errorNumber)))
        #expect(plan.operationCount == number)
        number += 1
      }
      #expect(number > 3)
    }
  }

  @Test(
    "a stream that never gets further is given up after a hundred tries",
    arguments: [EINTR, EAGAIN] as [Int32])
  func noProgressEnds(errorNumber: Int32) throws {
    let line = Line(seed: 9)
    line.server.faultPlan.fail(operation: 1, with: .failure(errorNumber), persistently: true)
    let ends = try transfer(line, 100)
    #expect(ends.sendEnd == .broken(SystemError(EAGAIN)))
    #expect(ends.receivedCount == 0)
    #expect(ends.receiveEnd == .closedByPeer)
    #expect(line.server.faultPlan.operationCount == SimulatedStream.fruitlessRoundsMax)
  }

  @Test("a send that moves nothing, for ever, is given up too")
  func sendOfNothingEnds() throws {
    let line = Line(seed: 9)
    line.server.faultPlan.fail(operation: 1, of: .send, with: .count(0), persistently: true)
    let ends = try transfer(line, 100)
    #expect(ends.sendEnd == .broken(SystemError(EAGAIN)))
  }
}
