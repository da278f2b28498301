import ArraySimulation

/// The worker behind `tools/simulate`.
@main
struct Main {
  static func main() {}
}
