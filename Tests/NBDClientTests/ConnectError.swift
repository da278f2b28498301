import NBDClient

/// TestSupport has a `ClientError` of its own, and a module with the name of a type in it cannot be
/// named: so here, where the other is not in sight.
typealias ConnectError = ClientError
