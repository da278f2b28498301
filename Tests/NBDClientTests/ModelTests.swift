import IO
import NBDClient
import NBDServer
import NBDWire
import Simulator
import TestSupport
import Testing
import Units

@Suite("NBDClient: against a model")
struct ModelTests {
  /// What one task believes of its own part of the export.
  private struct Part {
    let start: UInt64
    var bytes: [UInt8]
  }

  private static let partByteCount = 48 << 10
  private static let taskCount = 12
  private static let patterns = Patterns(byteCount: taskCount * partByteCount)

  @Test("many tasks at once find what they have written")
  func manyTasks() throws {
    for seed in Seeds.of(30) {
      var random = RandomSource(seed: seed ^ 0xC11E)
      var conditions = NetworkConditions()
      conditions.bufferBytes = 1 << Int(random.next(from: 8, through: 18))
      conditions.fragmentPerMillion = random.coin() ? 500_000 : 20_000
      let site = ClientSite(seed: seed, conditions: conditions)
      let isStructured = random.coin()
      let countMax = [1, 3, 128][random.index(below: 3)]
      do throws(SimulationFailure) {
        try site.machine.run { try await Self.play(site, isStructured, countMax) }
      } catch {
        Issue.record("\(error); \(Seeds.replay(seed, "ModelTests"))")
      }
    }
  }

  private static func play(
    _ site: ClientSite, _ isStructured: Bool, _ requestCountMax: Int
  ) async throws {
    let server = await site.serve(byteCount: UInt64(taskCount * partByteCount))
    let client = try await site.connect {
      $0.wantsStructuredReplies = isStructured
      $0.requestCountMax = requestCountMax
    }
    let wrong = Box<[String]>([])
    await withTaskGroup(of: Void.self) { group in
      for number in 0..<taskCount {
        group.addTask(executorPreference: site.machine) {
          do throws(RequestError) {
            try await live(number, client, site, wrong)
          } catch {
            wrong.value.append("task \(number): \(error)")
          }
        }
      }
    }
    #expect(wrong.value == [])
    await client.close()
    let complaint = await server.stop()
    #expect(complaint == nil)
    let status = await server.status()
    #expect(status.violationCount == 0)
  }

  private static func live(
    _ number: Int, _ client: Client, _ site: ClientSite, _ wrong: Box<[String]>
  ) async throws(RequestError) {
    let start = UInt64(number * partByteCount)
    var part = Part(start: start, bytes: [UInt8](repeating: 0, count: partByteCount))
    for step in 0..<12 {
      let length = 1 + draw(site, step % 4 == 0 ? partByteCount : 6000)
      let offset = draw(site, partByteCount - length + 1)
      let range = ByteRange(from: start + UInt64(offset), to: start + UInt64(offset + length))
      switch draw(site, 8) {
      case 0..<3:
        let bytes = patterns.bytes(number * 100 + step, at: range.offsetBytes, length)
        try await client.writeBytes(range.offsetBytes, bytes, durably: draw(site, 4) == 0)
        part.bytes.replaceSubrange(offset..<offset + length, with: bytes)
      case 3:
        try await client.writeZeroes(
          range, keepAllocated: draw(site, 2) == 0, onlyIfFast: false, durably: false)
        part.bytes.replaceSubrange(
          offset..<offset + length, with: [UInt8](repeating: 0, count: length))
      case 4: try await client.flush()
      default:
        let bytes = try await client.readBytes(range.offsetBytes, length)
        if bytes != Array(part.bytes[offset..<offset + length]) {
          wrong.value.append("task \(number), step \(step): \(range) holds something else")
        }
      }
    }
    if try await client.readBytes(start, partByteCount) != part.bytes {
      wrong.value.append("task \(number): something else at the end")
    }
  }

  private static func draw(_ site: ClientSite, _ bound: Int) -> Int {
    Int(site.machine.randomNumber() % UInt64(bound))
  }

  @Test("after a reset of the network every caller has an answer")
  func resets() throws {
    for seed in Seeds.of(60) {
      var conditions = NetworkConditions()
      conditions.resetPerMillion = 20_000
      let site = ClientSite(seed: seed, conditions: conditions)
      do throws(SimulationFailure) {
        try site.run {
          try await Self.playUntilReset(site)
        }
      } catch {
        Issue.record("\(error); \(Seeds.replay(seed, "ModelTests"))")
      }
    }
  }

  private static func playUntilReset(_ site: ClientSite) async throws {
    let server = await site.serve(byteCount: UInt64(taskCount * partByteCount))
    let wrong = Box<[String]>([])
    let ended = Box(0)
    if let client = try? await site.connect() {
      await withTaskGroup(of: Void.self) { group in
        for number in 0..<taskCount {
          group.addTask(executorPreference: site.machine) {
            do throws(RequestError) {
              try await live(number, client, site, wrong)
            } catch {
              if case .refused = error { wrong.value.append("\(error)") }
            }
            ended.value += 1
          }
        }
      }
      #expect(ended.value == taskCount)
      await client.close()
    }
    #expect(wrong.value == [])
    _ = await server.stop()
  }
}
