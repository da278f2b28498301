import Bench
import Glibc

/// What the process has used so far, all threads together.
func processorTimeNow() -> ProcessorTime {
  var usage = rusage()
  // Safe: `usage` lives until the call returns.
  guard unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else {
    return ProcessorTime()
  }
  return ProcessorTime(
    userNanoseconds: nanoseconds(usage.ru_utime), systemNanoseconds: nanoseconds(usage.ru_stime),
    contextSwitches: UInt64(max(0, usage.ru_nvcsw + usage.ru_nivcsw)),
    majorFaults: UInt64(max(0, usage.ru_majflt)), minorFaults: UInt64(max(0, usage.ru_minflt)))
}

/// The machine's memory.
func machineByteCount() -> UInt64 {
  let (pages, size) = (sysconf(Int32(_SC_PHYS_PAGES)), sysconf(Int32(_SC_PAGESIZE)))
  guard pages > 0, size > 0 else { return .max }
  return UInt64(pages) * UInt64(size)
}

private func nanoseconds(_ time: timeval) -> UInt64 {
  UInt64(max(0, time.tv_sec)) * 1_000_000_000 + UInt64(max(0, time.tv_usec)) * 1000
}
