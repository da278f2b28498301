import IO
import NBDServer
import Simulator
import TestSupport
import Testing
import Units
import Volumes

private let modes = [true, false]

private func wishes(_ isStructured: Bool) -> TestWishes {
  isStructured ? TestWishes() : .simple
}

/// READ, WRITE and what is refused, with structured and with simple replies.
@Suite("Server: commands")
struct CommandTests {
  private let read = TestRequest.read

  @Test("37 to 42: the flags are true, DF comes with structured replies only", arguments: modes)
  func transmissionFlags(isStructured: Bool) throws {
    for isReadOnly in [false, true] {
      let (site, _) = fileSite(isReadOnly: isReadOnly)
      try site.run {
        let client = try await site.connect(wishes(isStructured))
        let export = client.export
        #expect(export.byteCount == 1 << 20)
        #expect(export.has(0) && export.has(2) && export.has(3) && export.has(8))
        #expect(export.has(1) == isReadOnly)
        #expect(export.has(5) != isReadOnly && export.has(6) != isReadOnly)
        #expect(export.has(11) == export.has(6))
        #expect(export.has(7) == isStructured)
        #expect(!export.has(9) && !export.has(12))
        #expect(export.blockBytes == [1, 4096, 32 << 20])
      }
    }
  }

  @Test("38: a read-only export answers EPERM, consumes the payload, and stays in step")
  func readOnly() throws {
    let (site, _) = fileSite(isReadOnly: true)
    try site.run {
      let client = try await site.connect()
      let cookies = [
        client.submit(.write(0, filled(5000, 1))),
        client.submit(TestRequest(TestRequest.trim, 0, 4096)),
        client.submit(TestRequest(TestRequest.writeZeroes, 0, 4096)),
      ]
      let good = client.submit(TestRequest(read, 0, 512))
      for cookie in cookies {
        #expect(try await client.reply(to: cookie).error == Wire.notPermitted)
      }
      #expect(try await client.reply(to: good).error == 0)
    }
  }

  @Test("43: a wrong magic closes; equal cookies come back as they were sent")
  func magicAndCookies() throws {
    let (site, _) = fileSite()
    try site.run {
      let client = try await site.connect(.simple)
      let header = TestRequest(TestRequest.flush).header(cookie: 0xFFFF_FFFF_FFFF_FFFE)
      client.submit(header + header)
      for _ in 0..<2 {
        let reply = try await client.take(16)
        #expect(reply[..<8] == [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0])
        #expect(WireBytes.number(reply[8...]) == 0xFFFF_FFFF_FFFF_FFFE)
      }
      client.submit(filled(28, 0x25))
      #expect(await client.expectEnd())
      #expect(await site.becomesQuiet())
      #expect(await site.server.status().violationCount == 1)
    }
  }

  @Test("44, 45, 46: what was written is read; a failed READ sends no data", arguments: modes)
  func readAndWrite(isStructured: Bool) throws {
    let (site, below) = fileSite()
    try site.run {
      let client = try await site.connect(wishes(isStructured))
      let patterns = Patterns(byteCount: 1 << 20)
      for (index, size) in [1, 511, 4096, 5000, 65536, 300_000].enumerated() {
        let offset = UInt64(index) * 700
        let bytes = patterns.bytes(index, at: offset, size)
        #expect(try await client.perform(.write(offset, bytes)).error == 0)
        let reply = try await client.perform(TestRequest(read, offset, UInt32(size)))
        let isSame = reply.data == bytes
        #expect(reply.error == 0 && isSame)
        #expect(reply.chunkTypes.isEmpty != isStructured)
      }
      below.medium.makeUnreadable(ByteRange(from: 8192, to: 8193))
      let failed = try await client.perform(TestRequest(read, 4096, 65536))
      #expect(failed.error == Wire.inputOutput && failed.data.isEmpty)
      #expect(try await client.perform(TestRequest(read, 0, 4096)).error == 0)
      let invalid = try await client.perform(TestRequest(read, 1 << 20, 1))
      #expect(invalid.error == Wire.invalid)
      #expect(invalid.chunkTypes == (isStructured ? [32769] : []))
    }
  }

  @Test("47 to 51: zeros are left out as holes, DF sends one chunk with its zeros")
  func holes() throws {
    let (site, below) = fileSite()
    try site.run {
      let client = try await site.connect()
      for block in [1, 2, 5, 63] {
        below.medium.overwrite(at: UInt64(block) * 4096, with: filled(4096, 7))
      }
      let whole = try await client.perform(TestRequest(read, 0, 1 << 20))
      #expect(whole.chunkTypes == [2, 1, 2, 1, 2, 1, 2])
      let odd = try await client.perform(TestRequest(read, 100, 4096 * 3))
      #expect(odd.data.prefix(3996).allSatisfy { $0 == 0 })
      #expect(odd.data.dropFirst(3996).prefix(8192).allSatisfy { $0 == 7 })
      let unfragmented = try await client.perform(
        TestRequest(read, 0, 65536, flags: TestRequest.dontFragment))
      #expect(unfragmented.chunkTypes == [1])
      let isSame = unfragmented.data == Array(whole.data.prefix(65536))
      #expect(isSame)
      // Every other block: more runs than a reply has room for.
      for block in stride(from: 0, to: 256, by: 2) {
        below.medium.overwrite(at: UInt64(block) * 4096, with: filled(4096, 7))
        if block != 2 {
          below.medium.overwrite(at: UInt64(block + 1) * 4096, with: filled(4096, 0))
        }
      }
      let checkered = try await client.perform(TestRequest(read, 0, 1 << 20))
      let image = below.medium.live.bytes(ByteRange(from: 0, to: 1 << 20))
      let isRight = checkered.data == image
      #expect(isRight)
      #expect(checkered.chunkTypes.count == 16)
    }
  }

  @Test("50: DF that was not negotiated is EINVAL")
  func unfragmentedWithoutStructure() throws {
    let (site, _) = fileSite()
    try site.run {
      let client = try await site.connect(.simple)
      let reply = try await client.perform(
        TestRequest(read, 0, 512, flags: TestRequest.dontFragment))
      #expect(reply.error == Wire.invalid)
    }
  }

  @Test("52, 53, 63: lengths around the payload limit", arguments: modes)
  func payloadLimit(isStructured: Bool) throws {
    let limit: UInt32 = 32 << 20
    let site = memorySite(byteCount: 1 << 30, conditions: smoothConditions)
    try site.run {
      let client = try await site.connect(wishes(isStructured))
      let bytes = filled(Int(limit), 3)
      #expect(try await client.perform(.write(1, bytes)).error == 0)
      let reply = try await client.perform(TestRequest(read, 1, limit))
      let isSame = reply.data == bytes
      #expect(isSame)
      let long = client.submit(TestRequest(read, 0, limit + 1))
      let error = try await client.reply(to: long).error
      #expect(error == Wire.overflow || error == Wire.invalid)
      #expect(await site.server.status().bufferBytesInUse == 0)
      for command in [TestRequest.trim, TestRequest.writeZeroes, TestRequest.cache] {
        #expect(try await client.perform(TestRequest(command, 0, 1 << 30)).error == 0)
      }
      #expect(try await client.perform(TestRequest(read, 1, 4096)).data == filled(4096, 0))
      client.submit(TestRequest(TestRequest.write, 0, limit + 1).header(cookie: 99))
      #expect(await client.expectEnd())
    }
  }

  @Test("53, 60: the payload of every refused WRITE is consumed", arguments: modes)
  func refusedWrites(isStructured: Bool) throws {
    for seed in Seeds.of(10) {
      let (site, _) = fileSite(seed: seed)
      try site.run {
        let client = try await site.connect(wishes(isStructured))
        let refused: [(TestRequest, UInt32)] = [
          (.write(1 << 20, filled(10_000, 0x25)), Wire.noSpace),
          (.write((1 << 20) - 1, filled(2, 0x25)), Wire.noSpace),
          (.write(UInt64.max - 511, filled(1024, 0x25)), Wire.noSpace),
          (.write(0, filled(150_000, 0x25), flags: 1 << 1), Wire.invalid),
          (.write(0, filled(3, 0x25), flags: 1 << 5), Wire.invalid),
          (.write(0, filled(28, 0x25), flags: 1 << 15), Wire.invalid),
        ]
        for (request, error) in refused {
          let cookie = client.submit(request)
          let next = client.submit(TestRequest(read, 0, 512))
          #expect(try await client.reply(to: cookie).error == error)
          let reply = try await client.reply(to: next)
          #expect(reply.error == 0 && reply.data == filled(512, 0))
        }
      }
    }
  }

  @Test("55: FUA is accepted on all commands, and a FUA write is stable before its reply")
  func forceUnitAccess() throws {
    let (site, below) = fileSite()
    try site.run {
      let client = try await site.connect()
      let fua = TestRequest.durable
      #expect(try await client.perform(.write(512, filled(10, 5), flags: fua)).error == 0)
      #expect(below.medium.unflushedWrites.isEmpty)
      #expect(below.medium.durable.bytes(ByteRange(from: 512, to: 522)) == filled(10, 5))
      for command in [
        TestRequest.read, TestRequest.trim, TestRequest.cache, TestRequest.writeZeroes,
        TestRequest.blockStatus,
      ] {
        #expect(try await client.perform(TestRequest(command, 0, 4096, flags: fua)).error == 0)
        #expect(below.medium.unflushedWrites.isEmpty)
      }
      #expect(try await client.perform(TestRequest(TestRequest.flush, flags: fua)).error == 0)
    }
  }

  @Test("56, 58, 59, 60: odd requests are refused, and the stream stays in step", arguments: modes)
  func oddRequests(isStructured: Bool) throws {
    let (site, _) = fileSite()
    try site.run {
      let client = try await site.connect(wishes(isStructured))
      let size: UInt64 = 1 << 20
      let cases: [(TestRequest, UInt32)] = [
        (TestRequest(TestRequest.flush, 1, 0), Wire.invalid),
        (TestRequest(TestRequest.flush, 0, 1), Wire.invalid),
        (TestRequest(read, size - 1, 2), Wire.invalid),
        (TestRequest(read, UInt64.max - 511, 1024), Wire.invalid),
        (TestRequest(TestRequest.trim, size, 1), Wire.invalid),
        (TestRequest(TestRequest.cache, size, 1), Wire.invalid),
        (TestRequest(TestRequest.blockStatus, size, 1), Wire.invalid),
        (TestRequest(TestRequest.writeZeroes, size - 1, 2), Wire.noSpace),
        (TestRequest(TestRequest.writeZeroes, UInt64.max - 511, 1024), Wire.noSpace),
        (TestRequest(8, 0, 0), Wire.invalid), (TestRequest(0xFFFF, 5, 9), Wire.invalid),
        (TestRequest(read, 0, 512, flags: 1 << 1), Wire.invalid),
        (TestRequest(TestRequest.flush, flags: 1 << 4), Wire.invalid),
        (TestRequest(TestRequest.trim, 0, 512, flags: 1 << 1), Wire.invalid),
        (TestRequest(TestRequest.cache, 0, 512, flags: 1 << 3), Wire.invalid),
        (TestRequest(TestRequest.writeZeroes, 0, 512, flags: 1 << 3), Wire.invalid),
        (TestRequest(read, 0, 0), 0), (.write(0, []), 0), (TestRequest(TestRequest.trim, 0, 0), 0),
        (TestRequest(TestRequest.writeZeroes, size, 0), 0),
      ]
      var cookies: [UInt64] = []
      for (request, _) in cases { cookies.append(client.submit(request)) }
      for (index, cookie) in cookies.enumerated() {
        let reply = try await client.reply(to: cookie)
        #expect(reply.error == cases[index].1, "case \(index)")
      }
      #expect(await site.server.status().violationCount == 0)
    }
  }

  @Test("61: what the disk says becomes one of the eight errors")
  func errorMapping() throws {
    for (number, expected) in [
      (5, Wire.inputOutput), (28, Wire.noSpace), (122, Wire.noSpace), (27, Wire.noSpace),
      (12, Wire.inputOutput), (30, Wire.inputOutput), (125, Wire.inputOutput),
    ] as [(Int32, UInt32)] {
      let (site, _) = fileSite()
      site.machine.faultPlan.fail(operation: 1, of: .write, with: .failure(number))
      try site.run {
        let client = try await site.connect()
        #expect(try await client.perform(.write(0, filled(4096, 1))).error == expected)
        #expect(try await client.perform(.write(0, filled(4096, 1))).error == 0)
      }
    }
  }

  @Test("62, 64: FAST_ZERO is quick or ENOTSUP with unchanged contents, else it always works")
  func writeZeroes() throws {
    let (site, below) = fileSite()
    try site.run {
      let client = try await site.connect()
      let zero = TestRequest.writeZeroes
      #expect(try await client.perform(.write(0, filled(20_000, 1))).error == 0)
      #expect(try await client.perform(TestRequest(zero, 100, 9000)).error == 0)
      #expect(below.holds(1, from: 0, to: 100) && below.holds(0, from: 100, to: 9100))
      #expect(below.holds(1, from: 9100, to: 20_000))
      #expect(!below.medium.live.isAllocated(at: 4096))
      let noHole = TestRequest(zero, 32768, 8192, flags: TestRequest.noHole)
      #expect(try await client.perform(noHole).error == 0)
      #expect(below.medium.live.isAllocated(at: 32768))
      let fast = TestRequest(zero, 8192, 8192, flags: TestRequest.fastZero)
      below.medium.canPunchHoles = false
      below.medium.canZeroRanges = false
      #expect(try await client.perform(fast).error == Wire.notSupported)
      #expect(below.holds(1, from: 9100, to: 16384))
      #expect(try await client.perform(TestRequest(zero, 8192, 8192)).error == 0)
      #expect(below.holds(0, from: 8192, to: 16384))
    }
  }

  @Test("66, 67, 68: BLOCK_STATUS tells data and holes, REQ_ONE one of them")
  func blockStatus() throws {
    let (site, below) = fileSite()
    try site.run {
      let status = TestRequest.blockStatus
      let plain = try await site.connect(.simple)
      #expect(try await plain.perform(TestRequest(status, 0, 512)).error == Wire.invalid)
      let client = try await site.connect()
      #expect(try await client.perform(.write(8192, filled(4096, 1))).error == 0)
      let hole = TestExtent(8192, 3)
      #expect(
        try await client.perform(TestRequest(status, 0, 1 << 20)).extents
          == [hole, TestExtent(4096, 0), TestExtent((1 << 20) - 12288, 3)])
      let one = TestRequest.requestOne
      #expect(
        try await client.perform(TestRequest(status, 0, 1 << 20, flags: one)).extents == [hole])
      #expect(
        try await client.perform(TestRequest(status, 4096, 100, flags: one)).extents
          == [TestExtent(100, 3)])
      #expect(try await client.perform(TestRequest(status, 0, 0)).error == Wire.invalid)
      for block in stride(from: 0, to: 256, by: 2) {
        below.medium.overwrite(at: UInt64(block) * 4096, with: filled(4096, 7))
      }
      let many = try await client.perform(TestRequest(status, 0, 1 << 20))
      #expect(many.extents.allSatisfy { $0.byteCount % 4096 == 0 } && many.extents.count > 200)
      #expect(try await client.perform(TestRequest(TestRequest.trim, 0, 1 << 20)).error == 0)
      #expect(
        try await client.perform(TestRequest(status, 0, 1 << 20)).extents == [
          TestExtent(1 << 20, 3)
        ])
    }
  }

  @Test("67: a BLOCK_STATUS of 4 GiB - 1 at odd offsets of a large device")
  func longestBlockStatus() throws {
    let size: UInt64 = 16 << 30
    let site = memorySite(byteCount: size)
    try site.run {
      let client = try await site.connect()
      #expect(try await client.perform(.write(5 << 30, filled(1, 1))).error == 0)
      let offsets: [UInt64] = [
        0, 1, 511, 4095, 4096, 1 << 30, (5 << 30) - 1, size - (1 << 32) + 1,
      ]
      for offset in offsets {
        for flags in [0, TestRequest.requestOne] as [UInt16] {
          let request = TestRequest(TestRequest.blockStatus, offset, .max, flags: flags)
          let reply = try await client.perform(request)
          #expect(reply.error == 0 && !reply.extents.isEmpty, "offset \(offset)")
        }
      }
      let past = TestRequest(TestRequest.blockStatus, size - (1 << 32) + 2, .max)
      #expect(try await client.perform(past).error == Wire.invalid)
    }
  }

  @Test("S12: memory that nobody wrote is never sent")
  func uninitialisedMemory() throws {
    let (site, _) = fileSite(alignment: 4096)
    try site.run {
      let marker = try await site.connect()
      // Fills the pooled buffers of all sizes with a marker, the bounce buffers too.
      for size in [4096, 5000, 60_000, 200_000] {
        #expect(try await marker.perform(.write(7, filled(size, 0xEE))).error == 0)
        #expect(try await marker.perform(TestRequest(read, 7, UInt32(size))).error == 0)
      }
      let other = try await site.connect()
      #expect(try await other.perform(.write(900_100, filled(1, 1))).error == 0)
      for (offset, size) in [(300_001, 70_000), (400_000, 4096), (262_144, 500_000)] {
        let reply = try await other.perform(TestRequest(read, UInt64(offset), UInt32(size)))
        #expect(reply.data.allSatisfy { $0 == 0 })
      }
      let around = try await other.perform(TestRequest(read, 897_024, 8192))
      #expect(around.data.reduce(0) { $0 + Int($1) } == 1)
    }
  }
}
