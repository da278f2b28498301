import ArraySimulation
import Simulator
import Testing

@Suite("Simulation: the checker judges histories written by hand")
struct DeviceModelTests {
  @Test("a new device reads as zeros; anything else is nobody's")
  func newDevice() {
    let device = ScriptedDevice()
    #expect(device.read(0..<64) == nil)
    device.flipBit(3, byte: 100)
    #expect(device.read(0..<64) == .rightOrError)
  }

  @Test("an acknowledged write is read back, whole sectors and none else")
  func readsBack() {
    let device = ScriptedDevice()
    device.write(3..<9)
    #expect(device.read(0..<64) == nil)
    device.flipBit(8, byte: 511)
    #expect(device.read(8..<9) == .rightOrError)
  }

  @Test("a sector in another's place is seen, although it is whole")
  func misplaced() {
    let device = ScriptedDevice()
    device.write(3..<9)
    device.copy(4, to: 5)
    #expect(device.read(5..<6) == .rightOrError)
  }

  @Test("zeros in place of an acknowledged write are wrong")
  func zerosForData() {
    let device = ScriptedDevice()
    device.write(3..<9)
    device.zero(4..<5)
    #expect(device.read(0..<16) == .rightOrError)
  }

  @Test("an overwritten content is stale, without any crash")
  func stale() {
    let device = ScriptedDevice()
    let old = device.write(3..<9)
    device.write(3..<9)
    device.apply(old, 6..<7)
    #expect(device.read(0..<16) == .rightOrError)
  }

  @Test("an open write may be seen or not; once seen by a read that has ended, it stays seen")
  func openWrite() {
    let device = ScriptedDevice()
    let old = device.write(0..<8)
    let change = device.model.beginWrite(0..<8)
    #expect(device.read(0..<8) == nil)
    device.apply(change)
    #expect(device.read(0..<8) == nil)
    device.apply(old)
    #expect(device.read(0..<8) == .rightOrError)
  }

  @Test("a read that began before the write was seen may still return the old content")
  func concurrentReads() {
    let device = ScriptedDevice()
    let old = device.write(0..<8)
    let early = device.model.beginRead()
    let change = device.model.beginWrite(0..<8)
    device.apply(change)
    #expect(device.read(0..<8) == nil)
    device.apply(old)
    #expect(device.read(0..<8, begin: early) == nil)
    #expect(device.read(0..<8) == .rightOrError)
  }

  @Test("of two writes at once either may be last, and a read that saw one decides it")
  func concurrentWrites() {
    for seesFirst in [true, false] {
      let device = ScriptedDevice()
      let first = device.model.beginWrite(0..<8)
      let second = device.model.beginWrite(0..<8)
      device.model.acknowledge(second, durably: false)
      device.model.acknowledge(first, durably: false)
      device.apply(seesFirst ? first : second)
      #expect(device.read(0..<8) == nil)
      device.apply(seesFirst ? second : first)
      #expect(device.read(0..<8) == .rightOrError)
    }
  }

  @Test("two writes at once are in one order on all the sectors that they share")
  func oneOrder() {
    let device = ScriptedDevice()
    let first = device.model.beginWrite(0..<8)
    let second = device.model.beginWrite(4..<12)
    device.model.acknowledge(first, durably: false)
    device.model.acknowledge(second, durably: false)
    device.apply(first)
    device.apply(second, 6..<12)
    #expect(device.read(0..<16) == .atomic)
  }

  @Test("kill -9: what was acknowledged stays (P1)", arguments: [true, false])
  func kill(isLost: Bool) {
    let device = ScriptedDevice()
    let old = device.write(0..<8)
    device.write(0..<8)
    if isLost { device.apply(old) }
    device.crash(.kill)
    #expect(device.read(0..<64) == (isLost ? .survivesKill : nil))
  }

  @Test("kill -9: what a read had seen stays, acknowledged or not (R1)")
  func seenStays() {
    let device = ScriptedDevice()
    let old = device.write(0..<8)
    let change = device.model.beginWrite(0..<8)
    device.apply(change)
    device.read(2..<3)
    device.apply(old)
    device.crash(.kill)
    #expect(device.read(0..<8) == .seenStays)
  }

  @Test("power loss: what was flushed stays, what was not may go, as a whole (P2, P6)")
  func powerLoss() {
    let flushed = ScriptedDevice()
    let lost = flushed.write(0..<8)
    flushed.write(0..<8)
    flushed.flush()
    flushed.apply(lost)
    flushed.crash(.powerLoss)
    #expect(flushed.read(0..<8) == .survivesPowerLoss)

    let unflushed = ScriptedDevice()
    let old = unflushed.write(0..<8)
    unflushed.flush()
    unflushed.write(0..<8)
    unflushed.apply(old)
    unflushed.crash(.powerLoss)
    #expect(unflushed.read(0..<8) == nil)

    let torn = ScriptedDevice()
    let before = torn.write(0..<8)
    torn.flush()
    torn.write(0..<8)
    torn.apply(before, 5..<8)
    torn.crash(.powerLoss)
    #expect(torn.read(0..<8) == .atomic)
  }

  @Test("a flush covers only what was acknowledged before it began")
  func flushCoversTheAcknowledged() {
    let device = ScriptedDevice()
    let old = device.write(0..<8)
    device.flush()
    let late = device.model.beginWrite(0..<8)
    let flush = device.model.beginFlush()
    device.model.acknowledge(late, durably: false)
    device.model.endFlush(flush, succeeded: true)
    device.apply(old)
    device.crash(.powerLoss)
    #expect(device.read(0..<8) == nil)
  }

  @Test("a failed flush covers nothing, a durable write itself")
  func failedFlush() {
    let device = ScriptedDevice()
    let old = device.write(0..<8)
    device.flush()
    device.write(0..<8)
    device.model.endFlush(device.model.beginFlush(), succeeded: false)
    device.apply(old)
    device.crash(.powerLoss)
    #expect(device.read(0..<8) == nil)

    let durable = ScriptedDevice()
    durable.write(0..<8, durably: true)
    durable.zero(0..<8)
    durable.crash(.powerLoss)
    #expect(durable.read(0..<8) == .survivesPowerLoss)
  }
}
