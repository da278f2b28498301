import Glibc

/// What a thread runs, boxed for its journey through a C pointer.
private final class ThreadBody {
  let run: @Sendable () -> Void

  init(_ run: @escaping @Sendable () -> Void) {
    self.run = run
  }
}

/// Starts a thread of its own for what may have to wait.
package func startDetachedThread(_ body: @escaping @Sendable () -> Void) {
  var thread = pthread_t()
  let argument = unsafe Unmanaged.passRetained(ThreadBody(body))
  // Safe: the thread takes over the reference; where it could not be made, we take it back.
  let result = unsafe pthread_create(
    &thread, nil,
    { argument in
      guard let argument = unsafe argument else { return nil }
      unsafe Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue().run()
      return nil
    }, argument.toOpaque())
  if result == 0 {
    pthread_detach(thread)
  } else {
    unsafe argument.release()
  }
}
