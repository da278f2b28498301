import Geometry
import Testing

@Suite("Geometry: levels")
struct RAIDLevelTests {
  @Test("a level is understood by name and by number", arguments: RAIDLevel.allCases)
  func names(level: RAIDLevel) {
    #expect(RAIDLevel(name: level.name) == level)
    #expect(RAIDLevel(name: String(level.rawValue)) == level)
  }
}
