import NBDClient
import Testing

@Suite("NBDClient: options")
struct ClientOptionsTests {
  @Test("a client waits for nothing without end")
  func everyWaitIsBounded() {
    let options = ClientOptions(exportName: "")
    #expect(options.handshakeNanoseconds > 0)
    #expect(options.requestNanoseconds > 0)
  }
}
