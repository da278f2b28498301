import IO
import NBDServer
import Simulator
import TestSupport
import Testing
import Units
import Volumes

@Suite("Server: order and durability")
struct OrderTests {
  @Test("41: a FLUSH on one connection covers, and shows, what was completed on all")
  func multiConnection() throws {
    for seed in Seeds.of(20) {
      let (site, below) = fileSite(seed: seed)
      try site.run {
        let first = try await site.connect()
        let second = try await site.connect()
        for index in 0..<5 as Range<UInt64> {
          let write = TestRequest.write(index * 5000, filled(5000, UInt8(index + 1)))
          #expect(try await first.perform(write).error == 0)
          let seen = try await second.perform(TestRequest(TestRequest.read, index * 5000, 5000))
          #expect(seen.data.allSatisfy { $0 == UInt8(index + 1) })
          #expect(try await second.perform(TestRequest(TestRequest.flush)).error == 0)
          let durable = below.medium.durable.bytes(
            ByteRange(from: index * 5000, to: index * 5000 + 5000))
          #expect(durable.allSatisfy { $0 == UInt8(index + 1) }, "seed \(seed)")
        }
      }
    }
  }

  @Test("54: at the success of a FLUSH every write replied to before it was sent is stable")
  func flushCoversReplied() throws {
    for seed in Seeds.of(40) {
      let (site, below) = fileSite(seed: seed)
      try site.run {
        await withTaskGroup(of: Void.self) { group in
          for number in 0..<4 as Range<UInt64> {
            group.addTask(executorPreference: site.clients) {
              guard let client = try? await site.connect() else { return }
              for round in 1...6 as ClosedRange<UInt8> {
                let offset = number * 65536
                let write = TestRequest.write(offset, filled(4096, round))
                #expect((try? await client.perform(write))?.error == 0)
                let flush = try? await client.perform(TestRequest(TestRequest.flush))
                #expect(flush?.error == 0)
                let stable = below.medium.durable.bytes(
                  ByteRange(from: offset, to: offset + 4096))
                #expect(stable.allSatisfy { $0 >= round }, "seed \(seed)")
              }
              await client.close()
            }
          }
        }
        #expect(await site.becomesQuiet())
        // Flushes that met shared their rounds.
        #expect(site.machine.faultPlan.count(of: .synchronize) <= 24)
      }
    }
  }

  @Test("57: DISC after requests: all of them are answered, then the server closes")
  func disconnect() throws {
    for seed in Seeds.of(20) {
      let (site, below) = fileSite(seed: seed)
      try site.run {
        let client = try await site.connect(seed % 2 == 0 ? TestWishes() : .simple)
        for index in 0..<30 as Range<UInt64> {
          client.submit(.write(index * 4096, filled(4096, UInt8(index + 1))))
          client.submit(TestRequest(TestRequest.read, 1 << 19, 6000))
        }
        client.submit(TestRequest(TestRequest.disconnect))
        for _ in 0..<60 { #expect(try await client.nextReply().error == 0) }
        #expect(await client.expectEnd())
        #expect(await site.becomesQuiet())
        for index in 0..<30 as Range<UInt64> {
          #expect(
            below.holds(UInt8(index + 1), from: index * 4096, to: index * 4096 + 4096))
        }
      }
    }
  }

  @Test("71: pipelined requests, answered in any order and in pieces, are never mixed")
  func pipelining() throws {
    for seed in Seeds.of(20) {
      let (site, below) = fileSite(seed: seed)
      let patterns = Patterns(byteCount: 1 << 20)
      below.medium.overwrite(at: 0, with: patterns.bytes(1, at: 0, 1 << 19))
      try site.run {
        let client = try await site.connect(seed % 2 == 0 ? TestWishes() : .simple)
        var ranges: [UInt64: (UInt64, Int)] = [:]
        var order: [UInt64] = []
        for _ in 0..<150 {
          let offset = site.clients.randomNumber() % 400_000
          let size = Int(1 + site.clients.randomNumber() % 20_000)
          let cookie = client.submit(TestRequest(TestRequest.read, offset, UInt32(size)))
          ranges[cookie] = (offset, size)
        }
        for _ in 0..<150 {
          let reply = try await client.nextReply()
          order.append(reply.cookie)
          guard let (offset, size) = ranges[reply.cookie] else { continue }
          let isRight = reply.data == patterns.bytes(1, at: offset, size)
          #expect(isRight, "seed \(seed)")
        }
        #expect(order != order.sorted())
      }
    }
  }

  @Test("100 clients at once, each with its own part of the device")
  func manyConnections() throws {
    let (site, _) = fileSite()
    try site.run {
      await withTaskGroup(of: Void.self) { group in
        for number in 0..<100 as Range<UInt64> {
          group.addTask(executorPreference: site.clients) {
            do {
              let client = try await site.connect()
              let offset = number * 10_000
              let bytes = filled(10_000, UInt8(number + 1))
              #expect(try await client.perform(.write(offset, bytes)).error == 0)
              let reply = try await client.perform(TestRequest(TestRequest.read, offset, 10_000))
              #expect(reply.data.allSatisfy { $0 == UInt8(number + 1) })
              await client.close()
            } catch {
              Issue.record("client \(number): \(error)")
            }
          }
        }
      }
      #expect(await site.becomesQuiet())
      #expect(await site.server.status().acceptedCount == 100)
    }
  }
}
