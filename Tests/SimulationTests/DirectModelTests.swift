import ArraySimulation
import Simulator
import Testing

@Suite("Simulation: the checker judges writes that go home directly")
struct DirectModelTests {
  @Test("each sector of a long request is for itself, and of one up to 64 KiB none is")
  func sectors() {
    for (goesDirect, length, rule) in [
      (true, 129, nil), (true, 128, .atomic), (false, 129, .atomic),
    ] as [(Bool, Int, Violation.Rule?)] {
      let device = ScriptedDevice(sectorCount: 256, goesDirect: goesDirect)
      let change = device.model.beginWrite(0..<length)
      device.apply(change, 3..<5)
      device.crash(.powerLoss)
      #expect(device.read(0..<256) == rule)
    }
  }

  @Test("never garbage, and never anything older than what was there")
  func garbage() {
    let device = ScriptedDevice(sectorCount: 256, goesDirect: true, excusesTornWrites: true)
    device.write(0..<128, durably: true)
    let change = device.model.beginWrite(0..<200)
    device.apply(change, 0..<64)
    device.flipBit(3, byte: 100)
    device.crash(.powerLoss)
    #expect(device.read(0..<8) == .rightOrError)
    device.flipBit(3, byte: 100)
    device.zero(64..<72)
    #expect(device.read(64..<72) == .survivesPowerLoss)
  }

  @Test("errors are excused for blocks of a long request that a crash met, where members fail")
  func excuses() {
    for isExcused in [true, false] {
      let device = ScriptedDevice(
        sectorCount: 512, goesDirect: true, excusesTornWrites: isExcused)
      _ = device.model.beginWrite(8..<200)
      device.crash(.kill)
      #expect(device.model.excuses(8..<9) == isExcused)
      #expect(device.model.excuses(0..<9) == isExcused)
      #expect(!device.model.excuses(0..<8))
      #expect(!device.model.excuses(200..<208))
    }
  }

  @Test("acknowledged it is excused after power loss only, and flushed not at all")
  func acknowledged() {
    for (kind, flushes, isExcused) in [
      (CrashKind.kill, false, false), (.powerLoss, false, true), (.powerLoss, true, false),
    ] {
      let device = ScriptedDevice(sectorCount: 512, goesDirect: true, excusesTornWrites: true)
      device.write(0..<200)
      if flushes { device.flush() }
      device.crash(kind)
      #expect(device.model.excuses(0..<8) == isExcused, "\(kind) \(flushes)")
    }
  }

  @Test("what has been read or written since has to be readable, written ones after power loss too")
  func forgiven() {
    let device = ScriptedDevice(sectorCount: 512, goesDirect: true, excusesTornWrites: true)
    _ = device.model.beginWrite(0..<200)
    device.crash(.powerLoss)
    #expect(device.read(0..<8) == nil)
    #expect(!device.model.excuses(0..<8))
    device.write(8..<16)
    #expect(!device.model.excuses(8..<16))
    device.write(16..<24, durably: true)
    device.model.crash(.powerLoss)
    #expect(device.model.excuses(8..<16))
    #expect(!device.model.excuses(16..<24))
  }
}
