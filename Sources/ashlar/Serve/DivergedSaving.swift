import Control
import DiskFormat
import Glibc
import IO
import RAID
import Ring

/// Saves what only this node has before it is given up, and reads it again as the receipt.
struct DivergedSaving: Sendable {
  let engine: ArrayEngine<RingMachine, MemberDisk>
  let machine: RingMachine

  private var offload: Offload { Offload(machine: machine) }

  /// Writes all of it into a new file, from the records behind the fork.
  func save(to path: String) async throws(ReplicaCommandError) -> OrderOutcome {
    guard let data = try await look() else {
      throw .notNow("no other history was met: there is nothing to save")
    }
    guard data.isComplete else {
      throw .notNow(
        "the log does not list any more what was written behind the fork: what is wanted of it has to "
          + "be copied from the device as a whole")
    }
    let view = await engine.nodeView
    let made = await offload.onThread { () -> Result<DivergedFileWriter, SystemError> in
      Result { () throws(SystemError) in
        try DivergedFileWriter(
          path, data, arrayID: view.nodeID,
          timelineID: view.timelines.last?.timelineID ?? .none,
          createdSeconds: UInt64(max(0, time(nil))))
      }
    }
    let writer: DivergedFileWriter
    do throws(SystemError) {
      writer = try made.get()
    } catch {
      throw .notNow(
        error == SystemError(EEXIST)
          ? "\(path) exists: name a file that does not" : "\(path) cannot be made (\(error))")
    }
    do throws(ReplicaCommandError) {
      try await write(data, with: writer, path)
    } catch {
      await offload.removeFile(path)
      throw error
    }
    var outcome = OrderOutcome(
      "\(data.byteCount) bytes of \(data.recordCount) records that only this node has are saved in "
        + "\(path): 'ashlar replica resync' with --exported \(path) gives them up")
    outcome.ranges = data.runs.map { ArrayRangeReport($0) }
    outcome.file = path
    return outcome
  }

  private func look() async throws(ReplicaCommandError) -> DivergedData? {
    do throws(ArrayError) {
      return try await engine.divergedData()
    } catch {
      throw .array(error)
    }
  }

  private func write(
    _ data: DivergedData, with writer: DivergedFileWriter, _ path: String
  ) async throws(ReplicaCommandError) {
    let meanwhile = ReplicaCommandError.notNow(
      "more was written here meanwhile: stop what writes, and export again")
    var number = data.forkNumber
    while number < data.end.number {
      let batch: StreamBatch?
      do throws(ArrayError) {
        batch = try await engine.streamBatch(behind: number)
      } catch {
        throw .array(error)
      }
      guard let batch, batch.end.number <= data.end.number else { throw meanwhile }
      try await onDisk(path) { () throws(SystemError) in try writer.write(batch) }
      number = batch.end.number
    }
    try await onDisk(path) { () throws(SystemError) in try writer.finish() }
    guard try await look() == data else { throw meanwhile }
  }

  private func onDisk(
    _ path: String, _ body: @escaping @Sendable () throws(SystemError) -> Void
  ) async throws(ReplicaCommandError) {
    let result = await offload.onThread { () -> SystemError? in
      do throws(SystemError) {
        try body()
        return nil
      } catch {
        return error
      }
    }
    if let result { throw .notNow("\(path) cannot be written (\(result))") }
  }

  /// What a file holds that was saved, all of it verified.
  func receipt(_ path: String) async throws(ReplicaCommandError) -> DivergenceConsent {
    let found = await offload.onThread {
      Result { () throws(DivergedFileError) in try DivergedFileReader.read(path) }
    }
    do throws(DivergedFileError) {
      let content = try found.get()
      return .exported(arrayID: content.head.arrayID, content.data)
    } catch {
      throw .notNow("\(path) is no receipt: \(error.words)")
    }
  }
}
