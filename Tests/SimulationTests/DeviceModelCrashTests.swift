import ArraySimulation
import Simulator
import Testing

@Suite("Simulation: the checker judges what crashes leave")
struct DeviceModelCrashTests {
  @Test("a write that a crash cut off is whole or absent, by whichever sector is read first")
  func cutOff() {
    for readsNewFirst in [true, false] {
      let device = ScriptedDevice()
      device.write(0..<16)
      let change = device.model.beginWrite(0..<16)
      device.apply(change, 8..<16)
      device.crash(.kill)
      let order = readsNewFirst ? [8..<16, 0..<8] : [0..<8, 8..<16]
      #expect(device.read(order[0]) == nil)
      #expect(device.read(order[1]) == .atomic)
    }
  }

  @Test("a request beyond 64 KiB may be there in part, cut at 64 KiB")
  func longRequest() {
    let device = ScriptedDevice(sectorCount: 512)
    let change = device.model.beginWrite(0..<300)
    device.apply(change, 0..<128)
    device.crash(.kill)
    #expect(device.read(0..<512) == nil)
    let again = device.model.beginWrite(0..<300)
    device.apply(again, 0..<64)
    device.crash(.kill)
    #expect(device.read(0..<512) == .atomic)
  }

  @Test("after a recovery the first read fixes the value, also over the next crash (L3)")
  func recoveryDecides() {
    for seesNew in [true, false] {
      let device = ScriptedDevice()
      let old = device.write(0..<8)
      device.flush()
      let change = device.write(0..<8)
      device.apply(seesNew ? change : old)
      device.crash(.powerLoss)
      #expect(device.read(0..<2) == nil)
      device.apply(seesNew ? old : change)
      device.crash(.powerLoss)
      #expect(device.read(2..<8) == .atomic)
    }
  }

  @Test("what a recovery found after kill -9 is durable when it serves (L3)")
  func recoveryMakesDurable() {
    let device = ScriptedDevice()
    let old = device.write(0..<8)
    device.flush()
    device.write(0..<8)
    device.crash(.kill)
    device.apply(old)
    device.crash(.powerLoss)
    #expect(device.read(0..<8) == .survivesPowerLoss)
  }

  @Test("a power loss before the recovery serves may still take what kill -9 had left")
  func powerLossAmidRecovery() {
    let device = ScriptedDevice()
    let old = device.write(0..<8)
    device.flush()
    device.write(0..<8)
    device.model.crash(.kill)
    device.apply(old)
    device.crash(.powerLoss)
    #expect(device.read(0..<8) == nil)
  }

  @Test("sectors that nobody was writing never change in a crash (P5)")
  func unwritten() {
    let device = ScriptedDevice()
    device.write(0..<8)
    let change = device.model.beginWrite(8..<16)
    device.apply(change)
    device.zero(3..<4)
    device.crash(.kill)
    #expect(device.read(0..<16) == .survivesKill)
  }

  @Test("a later write may survive a power loss that an earlier one of other blocks did not")
  func noOrderBetweenBlocks() {
    let device = ScriptedDevice()
    device.write(0..<8)
    device.write(8..<16)
    device.zero(0..<8)
    device.crash(.powerLoss)
    #expect(device.read(0..<16) == nil)
  }

  @Test("any of several unflushed writes of a block may survive, and none from before the flush")
  func anyUnflushed() {
    for survivor in 0..<4 {
      let device = ScriptedDevice()
      var writes = [device.write(0..<8)]
      writes.append(device.write(0..<8))
      device.flush()
      for _ in 0..<2 { writes.append(device.write(0..<8)) }
      device.apply(writes[survivor])
      device.crash(.powerLoss)
      #expect(device.read(0..<8) == (survivor == 0 ? .survivesPowerLoss : nil))
    }
  }

  @Test("a failed write is old or new, as a whole, once a crash has settled it")
  func failedWrite() {
    let device = ScriptedDevice()
    device.write(0..<8)
    let change = device.model.beginWrite(0..<8)
    device.model.fail(change)
    #expect(device.read(0..<8) == nil)
    device.apply(change)
    #expect(device.read(0..<8) == nil)
    let torn = device.model.beginWrite(0..<8)
    device.model.fail(torn)
    device.apply(torn, 0..<4)
    device.crash(.kill)
    #expect(device.read(0..<8) == .atomic)
  }

  @Test("a failed write never comes back over one that began after it and was acknowledged")
  func failedWriteStaysBelow() {
    let device = ScriptedDevice()
    let failed = device.model.beginWrite(0..<8)
    device.model.fail(failed)
    device.write(0..<8)
    device.apply(failed)
    device.crash(.kill)
    #expect(device.read(0..<8) == .survivesKill)
  }

  @Test("a trim zeroes whole blocks and leaves the edges", arguments: [true, false])
  func trim(zeroesEdges: Bool) {
    let device = ScriptedDevice()
    device.write(0..<32)
    let change = device.model.beginTrim(4..<28)
    device.zero(zeroesEdges ? 4..<28 : 8..<24)
    device.model.acknowledge(change, durably: false)
    #expect(device.read(0..<64) == (zeroesEdges ? .rightOrError : nil))
  }

  @Test("an acknowledged trim does not come undone; one that a crash cut off may, block by block")
  func trimAndCrash() {
    let device = ScriptedDevice()
    let data = device.write(0..<16)
    let open = device.model.beginTrim(0..<16)
    device.zero(0..<8)
    device.crash(.kill)
    #expect(device.read(0..<16) == nil)
    _ = open
    let done = device.model.beginTrim(8..<16)
    device.model.acknowledge(done, durably: false)
    device.apply(data, 8..<16)
    device.crash(.kill)
    #expect(device.read(0..<16) == .survivesKill)
  }

  @Test("a file's trim may do nothing")
  func optionalTrim() {
    let device = ScriptedDevice(trimZeroesBlocks: false)
    device.write(0..<16)
    let change = device.model.beginTrim(0..<16)
    device.zero(3..<5)
    device.model.acknowledge(change, durably: true)
    #expect(device.read(0..<16) == nil)
  }
}
