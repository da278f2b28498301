import Control
import Units

/// `ashlar attach NAME`.
enum AttachCommand {
  static let command = Command(
    name: "attach",
    summary: "make a served device a block device of this host",
    usage: ["NAME [options]", "NBD-URI [options]"],
    discussion: [
      "Uses the kernel's NBD client where /dev/nbd0 exists, else libnbd's nbdfuse with a loop "
        + "device, waits until the device is there with its right size, and prints its path. "
        + "Whatever was begun is undone when a step fails. 'ashlar detach' undoes it all.",
      "Requests are limited to --max-request: 64 KiB is what an array keeps whole across a crash. "
        + "On a plain device a crash may tear any request above a sector, and a higher limit is "
        + "faster for large transfers.",
      "NBD-URI attaches another server's export: nbd://HOST/EXPORT, nbd+unix:///EXPORT?socket=PATH.",
    ],
    operands: [Operand("NAME", help: "the device, or an NBD URI")],
    options: [
      Option("device", "/dev/nbdN", help: "take this device of the kernel's client"),
      .flag("fuse", help: "use nbdfuse and a loop device even where the kernel has a client"),
      Option("connections", "N", default: "4", help: "connections to the server, 1 to 16"),
      Option("max-request", "SIZE", default: "64k", help: "the most that one request carries"),
      Option("block-size", "SIZE", default: "512", help: "the device's sector: 512, 1k, 2k or 4k"),
      Option(
        "request-timeout", "DURATION",
        help: "how long the kernel's client waits for one request until it gives up with an "
          + "error, in whole seconds (default 90s; nbdfuse waits as long as the server does)"),
      Option("timeout", "DURATION", default: "30s", help: "how long attaching may take"),
      .flag("read-only", help: "attach it for reading only"),
      .flag("json", help: "print a JSON object instead of the path"),
    ],
    run: run)

  @Sendable private static func run(_ options: ParsedOptions) throws(UsageError) -> Int32 {
    let timeout = try options.required("timeout", as: .duration)
    let target = options.operand(0) ?? ""
    let uri = NBDAddress.isURI(target) ? NBDAddress(uri: target) : nil
    if uri == nil, NBDAddress.isURI(target) {
      throw UsageError(
        "'\(target)' is no NBD URI: it looks like nbd://HOST/EXPORT or "
          + "nbd+unix:///EXPORT?socket=PATH")
    }
    let name: String
    if let uri {
      name = uri.recordName
    } else {
      name = try Conversion.deviceName.convert(target, for: "NAME")
    }
    let choices = try Choices(options)
    do throws(RuntimeDirectoryError) {
      let directory = try RuntimeDirectory.created()
      let socket = try directory.blockSocketPath(name)
      guard uri != nil || SmallFile.exists(socket) else {
        return failed(
          "no server for \(name): there is no \(socket): start one with 'ashlar serve', or give an "
            + "NBD URI")
      }
      let address = uri ?? NBDAddress(socketPath: socket, export: name)
      let deadline = Deadline(afterNanoseconds: timeout)
      let attachment = Attachment(directory: directory, until: deadline) { note in
        Terminal.error.write("ashlar attach: \(note)\n")
      }
      return attach(choices.request(name, address), attachment, json: options.flag("json"))
    } catch {
      return failed(error.description)
    }
  }

  private static func attach(
    _ request: AttachRequest, _ attachment: Attachment, json: Bool
  ) -> Int32 {
    let record: AttachRecord
    do throws(AttachError) {
      record = try attachment.attach(request)
    } catch {
      return failed(error.description)
    }
    guard Terminal.output.write((json ? record.json.text : record.device) + "\n") else {
      return failed(
        "\(record.name) is attached as \(record.device), but standard output is closed")
    }
    return ExitCode.success
  }

  private static func failed(_ message: String) -> Int32 {
    Complaint.print(command: "attach", message)
    return ExitCode.failure
  }

  /// The options, read and checked against one another.
  private struct Choices {
    let device: BlockDevice?
    let usesFUSE: Bool
    let connectionCount: Int
    let maxRequestBytes: UInt64
    let blockBytes: Int
    let requestTimeoutSeconds: UInt64
    let isReadOnly: Bool

    init(_ options: ParsedOptions) throws(UsageError) {
      device = try options.value("device", as: AttachCommand.kernelDevice)
      if device != nil, options.flag("fuse") {
        throw UsageError("--device names one of the kernel's client: leave out --fuse")
      }
      usesFUSE = options.flag("fuse") || (device == nil && !Attachment.kernelHasClient)
      connectionCount = try options.required("connections", as: .integer(in: 1...16))
      let request = try options.required("max-request", as: .size(in: 4096...(32 << 20)))
      guard request % 4096 == 0 else {
        throw UsageError("--max-request: \(request) bytes are not a multiple of 4k")
      }
      maxRequestBytes = request
      blockBytes = try options.required("block-size", as: AttachCommand.blockSize)
      let patience = try options.value("request-timeout", as: .duration)
      if patience != nil, usesFUSE {
        throw UsageError(
          "--request-timeout is for the kernel's client, and nbdfuse would be used: leave it out")
      }
      let nanoseconds = patience ?? 90_000_000_000
      guard nanoseconds >= 1_000_000_000, nanoseconds % 1_000_000_000 == 0 else {
        throw UsageError("--request-timeout must be whole seconds, 1s at least")
      }
      requestTimeoutSeconds = nanoseconds / 1_000_000_000
      isReadOnly = options.flag("read-only")
    }

    func request(_ name: String, _ address: NBDAddress) -> AttachRequest {
      AttachRequest(
        name: name, address: address, device: device, usesFUSE: usesFUSE,
        connectionCount: connectionCount, maxRequestBytes: maxRequestBytes,
        blockBytes: blockBytes, requestTimeoutSeconds: requestTimeoutSeconds,
        isReadOnly: isReadOnly)
    }
  }

  private static var kernelDevice: Conversion<BlockDevice> {
    Conversion { text in
      guard let device = BlockDevice(path: text), device.kernelName.hasPrefix("nbd") else {
        return .failure(UsageError("is no device of the kernel's NBD client: /dev/nbdN"))
      }
      return .success(device)
    }
  }

  private static var blockSize: Conversion<Int> {
    Conversion { text in
      guard let byteCount = try? ByteSize.parse(text), [512, 1024, 2048, 4096].contains(byteCount)
      else { return .failure(UsageError("is not one of 512, 1k, 2k, 4k")) }
      return .success(Int(byteCount))
    }
  }
}
