import Control
import DiskFormat
import Geometry
import RAID
import Ring
import Units

/// `ashlar create NAME --level LEVEL MEMBER...`.
enum CreateCommand {
  static let command = Command(
    name: "create",
    summary: "make an array of files, block devices and NBD exports",
    usage: ["NAME --level raid0|raid1|raid5|raid6|raid10 [options] MEMBER..."],
    discussion: [
      "Makes a new, empty array, at once: nothing is copied and nothing needs a first "
        + "synchronisation. 'ashlar serve NAME' serves it.",
      "A MEMBER is a regular file (created with --size when it does not exist), a block device, or "
        + "an NBD URI: nbd://HOST/EXPORT, nbd+unix:///EXPORT?socket=PATH. An export must offer "
        + "FLUSH.",
      "What may be lost: raid0 no member, raid1 all but one, raid5 any one, raid6 any two, raid10 "
        + "any one, and more as long as no two of them are mirrors of each other.",
      "Members that hold anything are refused, and what they hold is named: a member of another "
        + "array, a file system, a partition table, data. So are members that repeat, are too "
        + "small, or are in use. --force destroys what they hold, and says what that is.",
      "A spare waits until a member fails, and then takes its slot. It needs room for what each "
        + "member uses, is created by --size like one, and makes the array no smaller. raid0 takes "
        + "none. 'ashlar member add' adds one later.",
      "A NAME that is known here belongs to an array whose members are elsewhere: --forget gives it "
        + "to the new one. The old array is left as it is; 'ashlar serve MEMBER...' still serves it.",
    ],
    operands: [
      Operand("NAME", help: "the array's name, under which it is served"),
      Operand("MEMBER", isRepeatable: true, help: "a path or NBD URI; their order is the slots'"),
    ],
    options: [
      Option("level", "LEVEL", isRequired: true, help: "how blocks are spread and protected"),
      Option(
        "size", "SIZE",
        help: "use so much of each member, and create files that do not exist with it "
          + "(default: what the smallest member has)"),
      Option(
        "spare", "MEMBER", isRepeatable: true,
        help: "begin with this spare, up to \(Superblock.reserveCountMax) of them"),
      Option(
        "chunk", "SIZE", default: "64k",
        help: "what lies on one member before the next is used: a power of two, 4k to 1M"),
      Option(
        "log-size", "SIZE", default: "256m",
        help: "what the log holds before it must have been written home"),
      Option(
        "log-policy", "POLICY", default: "auto",
        help:
          "which writes go through the log: full is all of them: large sequential ones are half as "
          + "fast. auto is all but the whole stripes of requests longer than 64k: a crash amid one, "
          + "with a member lost or a sector damaged at once, may leave its blocks unreadable or, "
          + "rarely, wrong"),
      .flag("force", help: "destroy what the members hold"),
      .flag("forget", help: "forget where the members of an array of the same name are"),
      .flag("json", help: "print a JSON object"),
    ],
    run: { options throws(UsageError) in
      let request = try CreateRequest(options)
      let machine: RingMachine
      do throws(RingError) {
        machine = try RingMachine()
      } catch {
        Complaint.print(command: "create", error.explanation)
        return ExitCode.failure
      }
      return machine.run { await CreateSession(machine: machine, request: request).run() }
    })
}

/// What the command line asks for, checked as far as that needs no look at the members.
struct CreateRequest: Sendable {
  let name: String
  let level: RAIDLevel
  /// By slot.
  let places: [MemberPlace]
  /// By seat.
  let sparePlaces: [MemberPlace]
  let memberByteCount: UInt64?
  let chunkBytes: UInt64
  let logByteCount: UInt64
  let logPolicy: LogPolicy
  let isForced: Bool
  let isForgetting: Bool
  let wantsJSON: Bool

  init(_ options: ParsedOptions) throws(UsageError) {
    name = try Conversion<String>.deviceName.convert(options.operands[0], for: "NAME")
    level = try options.required("level", as: Self.levelConversion)
    memberByteCount = try options.value("size", as: Self.blocks(in: 1 << 20...(1 << 62)))
    chunkBytes = try options.required(
      "chunk", as: Self.blocks(in: StripeGeometry.chunkBytesAllowed))
    guard chunkBytes.nonzeroBitCount == 1 else {
      throw UsageError("--chunk: \(ByteSize.formatExactly(chunkBytes)) is no power of two")
    }
    logByteCount = try options.required("log-size", as: Self.blocks(in: 1 << 20...(1 << 50)))
    logPolicy = try options.required("log-policy", as: .logPolicy)
    isForced = options.flag("force")
    isForgetting = options.flag("forget")
    wantsJSON = options.flag("json")
    var places: [MemberPlace] = []
    for text in options.operands.dropFirst() { places.append(try MemberPlace(text)) }
    self.places = places
    sparePlaces = try options.values(
      "spare",
      as: Conversion { text in
        do throws(UsageError) { return .success(try MemberPlace(text)) } catch {
          return .failure(UsageError("is no path and no NBD URI (nbd://HOST/EXPORT)"))
        }
      })
    let allowed = level.memberCountMin...StripeGeometry.memberCountMax
    guard allowed.contains(places.count) else {
      throw UsageError(
        "\(level.name) takes \(allowed.lowerBound) to \(allowed.upperBound) members, and "
          + "\(places.count) \(places.count == 1 ? "was" : "were") given")
    }
  }

  private static var levelConversion: Conversion<RAIDLevel> {
    Conversion { text in
      if let level = RAIDLevel(name: text) ?? RAIDLevel(name: "raid\(text)") {
        return .success(level)
      }
      let names = RAIDLevel.allCases.map(\.name).joined(separator: ", ")
      return .failure(UsageError("is not one of \(names)"))
    }
  }

  /// A size in whole blocks.
  private static func blocks(in range: ClosedRange<UInt64>) -> Conversion<UInt64> {
    Conversion { text in
      let size: UInt64
      do throws(UsageError) {
        size = try Conversion<UInt64>.size(in: range).convert(text, for: "")
      } catch {
        // Without the empty subject and the text, which the caller puts in front again.
        return .failure(UsageError(String(error.message.dropFirst(": '\(text)' ".count))))
      }
      guard size % StripeGeometry.blockBytes == 0 else {
        return .failure(UsageError("is not a multiple of 4k"))
      }
      return .success(size)
    }
  }
}
